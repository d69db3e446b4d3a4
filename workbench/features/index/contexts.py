"""Stretches of text around an activation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

if TYPE_CHECKING:
    from workbench.features.index.store import IndexFiles

__all__ = ["Context", "ContextGroup", "ContextReader"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """A stretch of one row around one token.

    Parameters
    ----------
    position
        The token's position in the index's ``tokens``.
    value
        Activation of the feature there; 0 where it is silent.
    document
        Number of its document.
    metadata
        What is kept with that document.
    row, column
        Its row, and its position in it.
    at
        Its position in the stretch.
    start
        Position of the stretch's first token in ``tokens``.
    token_ids
        Tokens of the stretch.
    special
        Which of them are not the document's own text.
    values
        Activation at each; NaN where the index does not know it.
    tokens
        The tokens as a person reads them; empty without a session.
    """

    position: int
    value: float
    document: int
    metadata: Mapping[str, Any]
    row: int
    column: int
    at: int
    start: int
    token_ids: Integer[np.ndarray, " pos"]
    special: Bool[np.ndarray, " pos"]
    values: Float[np.ndarray, " pos"]
    tokens: tuple[str, ...]

    def __repr__(self) -> str:
        text = "".join(
            f"[{token}]" if place == self.at else token for place, token in enumerate(self.tokens)
        )
        return f"Context({self.value:.4g}, document {self.document}: {text!r})"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ContextGroup:
    """Contexts whose activations lie in one interval.

    Parameters
    ----------
    kind
        ``"top"``, ``"equal"`` (intervals of equal width), ``"quantile"`` (intervals of equal
        numbers of activations), ``"interval"`` (chosen) or ``"silent"``.
    low, high
        The interval of activations.
    count
        Number of activations in it in the whole corpus, as the histogram tells.
    contexts
        Some of them: the strongest, or ones drawn at random.
    """

    kind: str
    low: float
    high: float
    count: float
    contexts: tuple[Context, ...]


class ContextReader:
    """Cuts contexts out of an index's rows.

    Parameters
    ----------
    index
        The index.
    """

    def __init__(self, index: IndexFiles) -> None:
        self._index = index
        self._metadata = [name for name in index.documents.columns if name.startswith("metadata.")]

    def cut(
        self,
        rows: Mapping[str, np.ndarray],
        chosen: Int[np.ndarray, " n"],
        width: int | None,
        *,
        hide_duplicates: bool = True,
        most: int | None = None,
    ) -> tuple[Context, ...]:
        """Cut the stretches around chosen activations.

        Parameters
        ----------
        rows
            A feature's rows of ``contexts.parquet``.
        chosen
            Which of them, in the order wanted.
        width
            Tokens on either side; None for the whole row.
        hide_duplicates
            Leave out a stretch whose tokens are the same as an earlier one's.
        most
            Most stretches.
        """
        settings = self._index.settings
        found: list[Context] = []
        seen: set[bytes] = set()
        for slot in chosen.tolist():
            if most is not None and len(found) >= most:
                break
            position = int(rows["position"][slot])
            known = settings.top_window if rows["rank"][slot] >= 0 else settings.window
            context = self._at(position, float(rows["value"][slot]), width, known, rows)
            key = context.token_ids.tobytes()
            if hide_duplicates and key in seen:
                continue
            seen.add(key)
            found.append(context)
        return tuple(found)

    def silent(self, position: int, width: int | None, *, whole: bool) -> Context:
        """Cut the stretch around a token where a feature is silent.

        Parameters
        ----------
        position
            The token.
        width
            Tokens on either side; None for the whole row.
        whole
            Whether it is silent in the whole stretch the token stands for.
        """
        context = self._at(position, 0.0, width, 0, None)
        if whole:
            size = self._index.settings.silent_width
            begin = context.position - context.column + context.column // size * size
            places = np.arange(context.start, context.start + len(context.values))
            inside = (places >= begin) & (places < begin + size)
            # A special token's activation is not in the index, in a silent stretch either.
            context.values[inside & ~context.special] = 0.0
        return context

    def _at(
        self,
        position: int,
        value: float,
        width: int | None,
        known: int,
        rows: Mapping[str, np.ndarray] | None,
    ) -> Context:
        index = self._index
        row = int(np.searchsorted(index.rows, position, side="right")) - 1
        begin, end = int(index.rows[row]), int(index.rows[row + 1])
        start = begin if width is None else max(begin, position - width)
        stop = end if width is None else min(end, position + width + 1)
        places = np.arange(start, stop)
        values = np.where(np.abs(places - position) <= known, 0.0, np.nan).astype(np.float32)
        if rows is not None:
            first, last = np.searchsorted(rows["position"], [start, stop])
            values[rows["position"][first:last] - start] = rows["value"][first:last]
        ids = np.asarray(index.tokens[start:stop])
        special = np.asarray(index.special[start:stop])
        values[special] = np.nan
        document = self._document(position)
        session = index.session
        names: tuple[str, ...] = ()
        if session is not None:
            names = tuple(session.model.token_string(int(token)) for token in ids)
        return Context(
            position=position,
            value=value,
            document=document,
            metadata=self._about(document),
            row=row,
            column=position - begin,
            at=position - start,
            start=start,
            token_ids=ids,
            special=special,
            values=values,
            tokens=names,
        )

    def _document(self, position: int) -> int:
        run = int(np.searchsorted(self._index.runs[:, 0], position, side="right")) - 1
        return int(self._index.runs[run, 1])

    def _about(self, document: int) -> dict[str, Any]:
        if not self._metadata:
            return {}
        row = self._index.documents.iloc[document]
        return {name.removeprefix("metadata."): row[name] for name in self._metadata}
