"""How far a build is."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["Meter", "Progress", "State"]

State = Literal["waiting", "running", "finishing", "done", "stopped", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is.

    Parameters
    ----------
    state
        What it is doing.
    tokens
        Tokens read, special ones included, those of earlier runs of the build among them.
    total_tokens
        Tokens there will be; None where that is not known yet.
    documents, total_documents
        Documents read, and how many there are; None where only reading would tell.
    tokens_per_second
        Speed of this run; 0 before the first pass.
    seconds_left
        Time to the end of reading at that speed; None where the total is not known.
    """

    state: State
    tokens: int
    total_tokens: int | None
    documents: int
    total_documents: int | None
    tokens_per_second: float
    seconds_left: float | None

    def __str__(self) -> str:
        total = "" if self.total_tokens is None else f" of about {self.total_tokens:,}"
        left = "" if self.seconds_left is None else f", {self.seconds_left:,.0f} s left"
        return (
            f"{self.state}: {self.tokens:,}{total} tokens, "
            f"{self.tokens_per_second:,.0f} tokens/s{left}"
        )


class Meter:
    """Counts what a build reads and shows it.

    Parameters
    ----------
    total_documents
        How many there are, if known.
    limit
        Most tokens that will be read.
    show
        True for a progress bar, a function that is called with each `Progress`, or False.
    """

    def __init__(
        self,
        total_documents: int | None,
        limit: int | None,
        show: bool | Callable[[Progress], None],
    ) -> None:
        self._lock = threading.Lock()
        self._show = show if callable(show) else None
        self._bar: Any = None
        if show is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(unit="token", unit_scale=True, desc="feature index", smoothing=0.1)
        self._total_documents, self._limit = total_documents, limit
        self._state: State = "waiting"
        self._tokens = self._documents = self._here = 0
        # Tokens and documents of whole blocks, from which the total is extrapolated.
        self._known: tuple[int, int] = (0, 0)
        self._started = time.perf_counter()

    def start(self, tokens: int, documents: int) -> None:
        """Begin to read, with so much read by earlier runs."""
        with self._lock:
            self._state, self._tokens, self._documents = "running", tokens, documents
            self._known = (tokens, documents)
            self._started = time.perf_counter()
        if self._bar is not None:
            self._bar.initial = tokens
            self._bar.n = tokens
        self._tell()

    def block(self, tokens: int, documents: int) -> None:
        """Note that the rows up to so many tokens and documents are known."""
        with self._lock:
            self._known = (tokens, documents)
            self._documents = max(self._documents, documents)

    def passed(self, tokens: int) -> None:
        """Note a pass of the model over so many tokens."""
        with self._lock:
            self._tokens += tokens
            self._here += tokens
        if self._bar is not None:
            self._bar.total = self.now().total_tokens
            self._bar.update(tokens)
        self._tell()

    def to(self, state: State) -> None:
        """Change state."""
        with self._lock:
            self._state = state
        if self._bar is not None:
            if state in ("done", "stopped", "failed"):
                self._bar.close()
            else:
                self._bar.set_description(f"feature index ({state})")
        self._tell()

    def _tell(self) -> None:
        if self._show is not None:
            self._show(self.now())

    def now(self) -> Progress:
        """How far the build is now."""
        with self._lock:
            tokens, documents = self._known
            total: int | None = None
            if self._state in ("finishing", "done"):
                total = self._tokens
            elif self._total_documents is not None and documents:
                total = round(tokens / documents * self._total_documents)
            if self._limit is not None and total is not None:
                total = min(total, self._limit)
            seconds = time.perf_counter() - self._started
            speed = self._here / seconds if self._here and seconds > 0 else 0.0
            left = None
            if total is not None and speed:
                left = max(total - self._tokens, 0) / speed
            return Progress(
                state=self._state,
                tokens=self._tokens,
                total_tokens=total,
                documents=self._documents,
                total_documents=self._total_documents,
                tokens_per_second=speed,
                seconds_left=left,
            )
