"""Which documents retrieval looks at: those of the feature index, or a corpus of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.features.retrieval_codes import KIND, SCHEMA, DocumentCodes

if TYPE_CHECKING:
    from workbench.features.index.rows import RowPlan
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["documents"]

_PART_TOKENS = 65_536


def documents(
    session: Session,
    corpus: Any = None,
    path: str | Path | None = None,
    *,
    saes: str | Iterable[str] | None = None,
    text: str | None = None,
    split: str = "train",
    context: int | None = None,
    packing: bool = False,
    part_tokens: int = _PART_TOKENS,
    progress: bool = True,
) -> DocumentCodes:
    """Build, resume or open the codes of documents.

    Parameters
    ----------
    session
        Model and SAEs.
    corpus
        Documents (see `workbench.features.index.as_corpus`); None for those of the session's
        feature index, whose rows are run again.
    path
        Folder. None: beside the feature index; for a corpus a temporary one that goes with the
        object.
    saes
        Names of the SAEs; None for those of the index, or for all attached.
    text, split, context, packing
        How a corpus becomes rows; see `workbench.features.index.index`. Text that does not fit a
        row is split over several, which count as one document.
    part_tokens
        Tokens of a part: what a killed build loses at most, and what bounds its memory.
    progress
        Whether to show a progress bar.

    Returns
    -------
    DocumentCodes

    Raises
    ------
    InputError
        There is no index and no corpus, or the index is not finished.
    SaeError
        An SAE is unknown or not attached.
    LoadError
        The folder's files are damaged or of other weights.
    WorkbenchError
        Another build is at work there.
    """
    from tqdm.auto import tqdm

    from workbench.features.index import disk
    from workbench.features.index.batching import find_batch_tokens
    from workbench.features.index.rows import RowPlan, row_blocks
    from workbench.features.retrieval_build import build, pieces_of_blocks, pieces_of_index

    if part_tokens < 1:
        raise InputError(f"part_tokens must be at least 1, got {part_tokens}")
    index = session.opened_index
    plan: RowPlan | None = None
    if corpus is None:
        if index is None:
            raise InputError(
                "whose documents? open a feature index with session.index(...), or pass a corpus"
            )
        if index.partial:
            raise InputError(
                "the feature index is still being built; wait for it, or pass a corpus"
            )
        chosen = [session.saes[name] for name in _names(saes, index.saes)]
        source: dict[str, Any] = {"index": disk.digest(index.path / "manifest.json")}
        policy, width, total = index.manifest["token_policy"], None, index.n_tokens
        pieces = pieces_of_index(index, part_tokens)
        path = index.path / "documents" if path is None else path
    else:
        from workbench.features.index.api import _context
        from workbench.features.index.corpus import as_corpus

        given = as_corpus(corpus, text=text, split=split)
        chosen = [session.saes[name] for name in _names(saes, session.saes)]
        width = _context(session, given, chosen, context)
        plan = RowPlan(context=width, packing=packing, long="split", block_tokens=part_tokens)
        source = {"corpus": given.head(), "size": given.size, "plan": _plan(plan)}
        policy, total = session.policy.to_dict(), None
        pieces = pieces_of_blocks(row_blocks(session.model, given, plan, session.policy))
    about = json.loads(json.dumps(_about(session, chosen, policy, source, part_tokens)))
    keep = None
    if path is None:
        keep = TemporaryDirectory(prefix="document-codes-")
        path = keep.name
    folder = Path(path).expanduser()
    if (folder / "manifest.json").is_file():
        found = DocumentCodes(folder, session=session)
        if all(found.manifest.get(key) == value for key, value in about.items()):
            return found
        if corpus is not None:
            raise InputError(
                f"{str(folder)!r} holds the codes of other documents or SAEs; pass another path"
            )
        disk.remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    batch_tokens = find_batch_tokens(session.model, chosen, width or _row_tokens(index))
    with tqdm(total=total, unit="token", desc="document codes", disable=not progress) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        build(
            session.model,
            chosen,
            pieces,
            folder,
            about,
            batch_tokens=batch_tokens,
            progress=advance,
        )
    return DocumentCodes(folder, session=session, keep=keep)


def _row_tokens(index: Any) -> int:
    return int(index.manifest["rows"]["context"])


def _names(saes: str | Iterable[str] | None, default: Iterable[str]) -> list[str]:
    names = default if saes is None else [saes] if isinstance(saes, str) else saes
    return list(dict.fromkeys(names))


def _plan(plan: RowPlan) -> dict[str, Any]:
    return {"context": plan.context, "packing": plan.packing, "long": plan.long}


def _about(
    session: Session,
    saes: Sequence[Sae],
    policy: Mapping[str, Any],
    source: Mapping[str, Any],
    part_tokens: int,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "model": {"name": session.model.name, "fingerprint": session.model.fingerprint},
        "saes": [
            {"name": sae.name, "d_sae": sae.d_sae, "fingerprint": sae.fingerprint} for sae in saes
        ],
        "token_policy": dict(policy),
        "source": dict(source),
        "part_tokens": part_tokens,
    }
