"""Answers on disk, so that a killed study goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import LoadError

__all__ = ["AnswerCache", "prompt_key"]

_FILE = "answers.jsonl"
_HEADER = {"kind": "entity answers", "schema": 1}


def prompt_key(identity: Mapping[str, Any], ids: Sequence[int]) -> str:
    """Hash what decides a prompt's answers: model, settings, tokens.

    Parameters
    ----------
    identity
        Model fingerprint, sampling settings, seed.
    ids
        Token ids of the prompt.
    """
    text = json.dumps({**identity, "ids": list(ids)}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class AnswerCache:
    """Answers by prompt: in memory, and in a folder where one is given.

    Prompts are answered in batches; a batch is one line of the file and on disk before the next
    begins, so that after a kill whole batches are there and the rest are asked again exactly as
    they would have been.

    Parameters
    ----------
    folder
        Where to keep answers; made if missing. None keeps nothing.

    Raises
    ------
    LoadError
        The folder's file holds something else.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._answers: dict[str, tuple[str, ...]] = {}
        self._path: Path | None = None
        if folder is None:
            return
        home = Path(folder).expanduser()
        home.mkdir(parents=True, exist_ok=True)
        self._path = home / _FILE
        if self._path.is_file() and b"\n" in self._path.read_bytes():
            self._read(self._path)
        else:
            # Nothing, or a first line that was cut off.
            self._path.unlink(missing_ok=True)
            self._append(_HEADER)

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        try:
            header, *batches = (json.loads(line) for line in data[:whole].splitlines())
            if header != _HEADER:
                raise ValueError(f"its first line is {header!r}, expected {_HEADER!r}")
            for batch in batches:
                for key, answers in zip(batch["prompts"], batch["answers"], strict=True):
                    if not isinstance(key, str) or not all(isinstance(a, str) for a in answers):
                        raise TypeError("an answer is not text")
                    self._answers[key] = tuple(answers)
        except (ValueError, KeyError, TypeError) as error:
            raise LoadError(
                f"{str(path)!r} holds no answers about entities ({error}); move it away or give "
                "another folder"
            ) from error
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        with self._path.open("ab") as file:
            file.write(json.dumps(record, ensure_ascii=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: object) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._answers[key]

    def keep(self, keys: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
        """Keep the answers of one batch of prompts."""
        self._append({"prompts": list(keys), "answers": [list(texts) for texts in answers]})
        self._answers.update((key, tuple(texts)) for key, texts in zip(keys, answers, strict=True))
