"""Named lists of features with labels, notes and colours, kept as JSON a person can edit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.features.lists_file import (
    Annotation,
    NamedList,
    from_json,
    read_bytes,
    to_json,
    write_bytes,
)
from workbench.features.lists_memory import ListsInMemory
from workbench.features.lists_merge import Conflict, MergeReport, Policy, flipped, merged
from workbench.features.refs import FeatureSet

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["Annotation", "Conflict", "FeatureLists", "MergeReport", "NamedList"]

FILE_NAME = "lists.json"


class FeatureLists(ListsInMemory):
    """Labels, notes and colours of features, and named lists of them.

    Parameters
    ----------
    model
        Name of the model whose features these are; None where that is open.
    path
        File that `save` writes to; None until one is named.

    Examples
    --------
    >>> lists = FeatureLists(model="demo")
    >>> lists.annotate("resid_post.2/417", label="cities", colour="#0072b2")
    >>> lists.add("places", ["resid_post.2/417", "resid_post.2/90"])
    >>> lists.label("resid_post.2/417")
    'cities'
    >>> lists["places"]
    FeatureSet(2: resid_post.2/417, resid_post.2/90)
    """

    def __init__(self, *, model: str | None = None, path: str | Path | None = None) -> None:
        super().__init__(model=model)
        self._path = None if path is None else _file(path)
        # What the file held when it was last read or written; None for a file that was not there.
        self._seen: str | None = None

    # -- files --------------------------------------------------------------------------------

    @classmethod
    def read(cls, path: str | Path) -> FeatureLists:
        """Read a file.

        Parameters
        ----------
        path
            The file, or a folder (an index) that holds ``lists.json``.

        Raises
        ------
        LoadError
            No such file, not such a file, or written by a newer version. The message says where.
        """
        file = _file(path)
        found = cls(path=file)
        data = read_bytes(file)
        found._contents = from_json(data, file.name)
        found._seen = _digest(data)
        return found

    @classmethod
    def open(cls, path: str | Path, *, model: str | None = None) -> FeatureLists:
        """Read a file, or begin an empty one where there is none yet.

        Parameters
        ----------
        path
            The file, or a folder (an index) that holds or will hold ``lists.json``.
        model
            Name of the model.

        Raises
        ------
        LoadError
            The file is damaged.
        InputError
            The file is of another model.
        """
        if not _file(path).exists():
            return cls(model=model, path=path)
        found = cls.read(path)
        _same_model(model, found.model)
        found._contents.model = found.model or model
        return found

    @property
    def path(self) -> Path | None:
        """The file `save` writes to."""
        return self._path

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Write the file, whole or not at all.

        Parameters
        ----------
        path
            Where to; None for where it came from.
        overwrite
            Whether to replace a file that somebody else has written since.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            No path is known, or the file has changed since it was read; `merge` takes the changes
            in.
        """
        with self._lock:
            target = self._path if path is None else _file(path)
            if target is None:
                raise InputError("where to? give a path: these lists came from no file")
            if target.exists() and not overwrite:
                seen = self._seen if target == self._path else None
                if _digest(target.read_bytes()) != seen:
                    raise InputError(
                        f"{str(target)!r} has changed since it was read: take its changes in with "
                        ".merge(path, conflict=...), or pass overwrite=True to drop them"
                    )
            data = to_json(self._contents)
            write_bytes(target, data)
            self._path, self._seen = target, _digest(data)
            return target

    # -- other people's -----------------------------------------------------------------------

    def merge(
        self,
        other: FeatureLists | str | Path,
        *,
        conflict: Policy,
        any_model: bool = False,
    ) -> MergeReport:
        """Take in somebody else's lists.

        Lists of one name are united. Where both say something different of one feature or list,
        `conflict` decides.

        Parameters
        ----------
        other
            The lists, or their file.
        conflict
            ``"ours"`` keeps what is here, ``"theirs"`` takes what is there, ``"both"`` keeps our
            label first and theirs among the other labels, joins notes, and keeps our colour.
        any_model
            Whether to take lists of another model.

        Returns
        -------
        MergeReport
            What was added, and every conflict with what became of it.

        Raises
        ------
        InputError
            Another model's lists, or an unknown policy. Nothing has changed then.
        LoadError
            The file is damaged. Nothing has changed then.
        """
        theirs = other if isinstance(other, FeatureLists) else FeatureLists.read(other)
        if not any_model:
            _same_model(self.model, theirs.model)
        with self._lock:
            self._contents, report = merged(self._contents, theirs._contents, conflict)
            if theirs._path is not None and theirs._path == self._path and theirs is not self:
                # The file's changes are in now, so it may be written.
                self._seen = theirs._seen
        return report

    def merge_into(
        self, path: str | Path, *, conflict: Policy, any_model: bool = False
    ) -> MergeReport:
        """Add these lists to somebody else's file; ours here are unchanged.

        Parameters
        ----------
        path
            Their file.
        conflict
            As for `merge`: ``"ours"`` puts what is here in place of what they have.
        any_model
            Whether their file may be of another model.

        Returns
        -------
        MergeReport
            What was added to theirs.

        Raises
        ------
        InputError
            Another model's lists, or an unknown policy. Nothing has changed then.
        LoadError
            The file is damaged. Nothing has changed then.
        """
        theirs = FeatureLists.read(path)
        if not any_model:
            _same_model(self.model, theirs.model)
        contents, report = merged(theirs._contents, self._contents, flipped(conflict))
        theirs._contents = contents
        theirs.save()
        return report.flipped()

    def missing(self, session: Session) -> FeatureSet:
        """Return the features a session does not have: no such SAE, or no such index."""
        sizes = {name: session.saes[name].d_sae for name in session.saes}
        return FeatureSet(tuple(ref for ref in self.every() if ref.index >= sizes.get(ref.sae, 0)))


def _file(path: str | Path) -> Path:
    found = Path(path).expanduser()
    return found / FILE_NAME if found.is_dir() else found


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _same_model(ours: str | None, theirs: str | None) -> None:
    if ours is not None and theirs is not None and ours != theirs:
        raise InputError(
            f"the lists are of features of model {theirs!r}, expected {ours!r}: the same number "
            "means another feature there"
        )
