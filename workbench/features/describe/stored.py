"""Descriptions kept with an index by earlier runs of `describe`, for the pages of features."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

__all__ = ["stored_description"]

FILE = "descriptions.jsonl"


def stored_description(index_path: Path, feature: str) -> str | None:
    """Return the newest description of a feature with how it was made and scored.

    Parameters
    ----------
    index_path
        Folder of the feature index; runs keep what they made in folders of it.
    feature
        The feature, written ``sae/index``.

    Returns
    -------
    str or None
        The text, who described it, and its scores with who answered; None where no run described
        it. A file that is none of these is passed over: a page is shown all the same.
    """
    files = sorted(
        (index_path / "descriptions").glob(f"*/{FILE}"),
        key=lambda path: path.stat().st_mtime_ns,
        reverse=True,
    )
    for path in files:
        facts = path.stat()
        found = _read(str(path), facts.st_mtime_ns, facts.st_size).get(feature)
        if found is not None:
            return found
    return None


@functools.lru_cache(maxsize=8)
def _read(path: str, _changed: int, _size: int) -> dict[str, str]:
    """Return the descriptions in one file, in words."""
    texts: dict[str, str] = {}
    scores: dict[str, list[str]] = {}
    labeller = scorer = "unknown"
    for line in Path(path).read_bytes().split(b"\n")[:-1]:
        record = _record(line)
        if "identity" in record:
            identity = record["identity"]
            if isinstance(identity, dict):
                labeller = str(identity.get("labeller", labeller))
                scorer = str(identity.get("scorer", scorer))
            continue
        feature, what, data = (record.get(name) for name in ("feature", "what", "data"))
        if not isinstance(feature, str) or not isinstance(what, str):
            continue
        if what == "description" and isinstance(data, str):
            texts[feature] = data
        elif isinstance(data, dict) and isinstance(data.get("value"), float):
            scores.setdefault(feature, []).append(f"{data.get('kind')} {data['value']:.2f}")
    return {
        feature: f"{text} \u2014 {_how(labeller, scorer, scores.get(feature, []))}"
        for feature, text in texts.items()
    }


def _how(labeller: str, scorer: str, scores: list[str]) -> str:
    made = f"described by {labeller}"
    return f"{made}; {', '.join(scores)}, answered by {scorer}" if scores else made


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
