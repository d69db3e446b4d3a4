"""`session.index`: build, resume, estimate or open a feature index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import InputError, SaeError
from workbench.features.index import disk, manifest
from workbench.features.index.assemble import preview_of
from workbench.features.index.batching import find_batch_tokens
from workbench.features.index.build import Engine, IndexBuild, LocalEngine
from workbench.features.index.corpus import as_corpus
from workbench.features.index.progress import Progress
from workbench.features.index.queries import FeatureIndex
from workbench.features.index.rows import RowPlan
from workbench.features.index.scan import Scanner
from workbench.features.index.settings import Documents, IndexSettings

if TYPE_CHECKING:
    from workbench.features.index.corpus import Corpus
    from workbench.features.index.estimate import IndexEstimate
    from workbench.model.tokens import TokenPolicy
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["index"]

_CONTEXT = 256
_PART_TOKENS_CPU = 16_384
_PART_TOKENS = 524_288


def index(
    session: Session,
    corpus: Any = None,
    path: str | Path | None = None,
    *,
    saes: str | Iterable[str] | None = None,
    text: str | None = None,
    metadata: bool | Iterable[str] = False,
    split: str = "train",
    tokens: int | None = None,
    context: int | None = None,
    packing: bool = False,
    long: Documents = "split",
    policy: TokenPolicy | None = None,
    settings: IndexSettings | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    batch_tokens: int | None = None,
    part_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    background: bool = False,
    dry_run: bool = False,
) -> FeatureIndex | IndexBuild | IndexEstimate:
    """Build, resume or open the feature index of a corpus.

    One pass of the model reads each token once for all features of all chosen SAEs. A build that
    was stopped or killed goes on where it was when it is called again with the same arguments, and
    ends in the same bytes; at most the part in progress is lost.

    Parameters
    ----------
    session
        Model and SAEs.
    corpus
        What holds the documents; see `as_corpus`. None to open the index at `path`.
    path
        Its folder; a folder named after the model where None.
    saes
        Names of the SAEs to index; None for all attached.
    text, metadata, split
        Columns of the corpus; see `as_corpus`.
    tokens
        Stop after so many tokens, with the document that reaches them.
    context
        Most tokens in a row. By default the width of given token rows, else the least context the
        SAEs were trained with, at most 256.
    packing
        Fill rows with documents one after another instead of one document per row.
    long
        Documents that do not fit a row: ``"split"`` over several, ``"truncate"``, or ``"error"``.
    policy
        Token policy; the session's own where None.
    settings
        What is kept per feature.
    engine
        ``"local"``, or ``"ray"``: the same parts on a Ray cluster, to the same bytes where its
        machines compute alike.
    workers
        Parts scanned at once by Ray; None for as many as the cluster has room for.
    batch_tokens
        Most tokens in a pass; found for the device where None.
    part_tokens
        Tokens of a part: what a killed build loses at most.
    progress
        True for a progress bar; or a function that gets each `Progress`.
    background
        Build in a thread and return at once with an `IndexBuild`.
    dry_run
        Measure a little of the work and say what the whole will take; nothing is written.

    Returns
    -------
    FeatureIndex, IndexBuild or IndexEstimate

    Raises
    ------
    InputError
        The corpus or an argument cannot be used, or `path` holds the index of something else.
    LoadError
        The index at `path` is damaged, or does not fit the session.
    WorkbenchError
        Another build is at work at `path`, or the disk is full.

    Examples
    --------
    >>> index = session.index(texts, "news.index")
    >>> index.contexts("resid_post.2/417")
    """
    folder = Path(path).expanduser() if path is not None else _default_path(session)
    if corpus is None:
        return _open(session, folder)
    chosen = _choose(session, saes)
    documents = as_corpus(corpus, text=text, metadata=metadata, split=split)
    on_cpu = session.model.device.type == "cpu"
    rows = RowPlan(
        context=_context(session, documents, chosen, context),
        packing=packing,
        long=long,
        block_tokens=part_tokens or (_PART_TOKENS_CPU if on_cpu else _PART_TOKENS),
    )
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens must be at least 1, got {batch_tokens}")
    if tokens is not None and tokens < 1:
        raise InputError(f"tokens must be at least 1, got {tokens}")
    kept = settings or IndexSettings()
    if dry_run:
        from workbench.features.index.estimate import estimate

        return estimate(
            session, documents, chosen, policy or session.policy, rows, kept, tokens, batch_tokens
        )
    build = IndexBuild(
        session,
        documents,
        folder,
        saes=chosen,
        policy=policy or session.policy,
        rows=rows,
        settings=kept,
        limit=tokens,
        engine=_engine(session, chosen, kept, engine, workers),
        batch_tokens=lambda: batch_tokens or find_batch_tokens(session.model, chosen, rows.context),
        show=progress,
    )
    if background:
        return build.start()
    build.run()
    return build.index()


def _default_path(session: Session) -> Path:
    return Path(re.sub(r"[^\w.-]+", "-", session.model.name).strip(".-") + ".index")


def _open(session: Session, folder: Path) -> FeatureIndex:
    unfinished = (folder / manifest.BUILD).is_file() and not (folder / manifest.MANIFEST).is_file()
    if unfinished:
        return FeatureIndex(preview_of(folder), session=session)
    return FeatureIndex(folder, session=session)


def _choose(session: Session, saes: str | Iterable[str] | None) -> list[Sae]:
    names = list(session.saes) if saes is None else [saes] if isinstance(saes, str) else list(saes)
    if not names:
        raise SaeError("no SAE is attached, so there is nothing to index; use session.attach(...)")
    return [session.saes[name] for name in dict.fromkeys(names)]


def _context(session: Session, corpus: Corpus, saes: Sequence[Sae], context: int | None) -> int:
    most = session.model.n_ctx
    if context is not None:
        if context > most:
            raise InputError(f"context is {context}, the model takes at most {most} tokens")
        return context
    if corpus.width is not None:
        if corpus.width > most:
            raise InputError(
                f"the token rows are up to {corpus.width} long, the model takes at most {most}; "
                "pass context=... to have them split"
            )
        return max(corpus.width, 2)
    trained = [sae.config.metadata.get("context_size") for sae in saes]
    given = [size for size in trained if isinstance(size, int) and size > 1]
    return min(most, _CONTEXT, *given)


def _engine(
    session: Session,
    saes: Sequence[Sae],
    settings: IndexSettings,
    name: str,
    workers: int | None,
) -> Callable[[int], Engine]:
    if name == "local":
        return lambda size: LocalEngine(Scanner(session.model, saes, settings, size))
    if name == "ray":
        from workbench.features.index.ray_engine import RayEngine

        return lambda size: RayEngine(session, saes, settings, size, workers=workers)
    raise InputError(f"engine must be 'local' or 'ray', got {name!r}")


def open_index(path: str | Path, session: Session | None = None) -> FeatureIndex:
    """Open a finished index, with or without a session; see `FeatureIndex`."""
    return FeatureIndex(path, session=session)


def remove_index(path: str | Path) -> None:
    """Remove an index, finished or not.

    Raises
    ------
    InputError
        The folder holds no index.
    """
    folder = Path(path).expanduser()
    if not any((folder / name).is_file() for name in (manifest.MANIFEST, manifest.BUILD)):
        raise InputError(f"{str(folder)!r} holds no feature index")
    with disk.held(folder):
        disk.remove(folder)
