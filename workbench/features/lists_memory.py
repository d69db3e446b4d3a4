"""Labels, notes and colours of features and named lists of them, in memory."""

from __future__ import annotations

import dataclasses
import html
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, unknown
from workbench.features.lists_file import (
    Annotation,
    Contents,
    NamedList,
    check_colour,
    check_name,
    check_text,
)
from workbench.features.refs import FeatureRef, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ListsInMemory"]


class ListsInMemory:
    """Annotations and lists without a file; see `workbench.features.lists.FeatureLists`.

    Parameters
    ----------
    model
        Name of the model whose features these are; None where that is open.
    """

    def __init__(self, *, model: str | None = None) -> None:
        self._contents = Contents(model=model)
        self._lock = threading.RLock()

    @property
    def model(self) -> str | None:
        """Name of the model whose features these are."""
        return self._contents.model

    # -- features -----------------------------------------------------------------------------

    def label(self, feature: str | FeatureRef) -> str | None:
        """Return a feature's label, None without one. Labels are untrusted text."""
        found = self._contents.features.get(FeatureRef.parse(feature))
        return None if found is None else found.label

    def annotation(self, feature: str | FeatureRef) -> Annotation:
        """Return everything noted of a feature; an empty annotation where nothing is."""
        return self._contents.features.get(FeatureRef.parse(feature), Annotation())

    def annotate(
        self,
        feature: str | FeatureRef,
        *,
        label: str | None = None,
        note: str | None = None,
        colour: str | None = None,
    ) -> None:
        """Set a feature's label, note or colour.

        Parameters
        ----------
        feature
            The feature.
        label, note
            Texts; None leaves what is there, an empty text removes it.
        colour
            ``#rrggbb``; None leaves what is there, an empty text removes it.

        Raises
        ------
        InputError
            A text is too long, or the colour is none.
        """
        ref = FeatureRef.parse(feature)
        changes: dict[str, Any] = {}
        if label is not None:
            changes["label"] = check_text(label, "label").strip() or None
        if note is not None:
            changes["note"] = check_text(note, "note")
        if colour is not None:
            changes["colour"] = check_colour(colour) or None
        with self._lock:
            new = dataclasses.replace(self.annotation(ref), **changes)
            if new == Annotation():
                self._contents.features.pop(ref, None)
            else:
                self._contents.features[ref] = new

    @property
    def features(self) -> FeatureSet:
        """Every feature with a label, note or colour."""
        return FeatureSet(tuple(self._contents.features))

    # -- lists --------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lists, in order."""
        return tuple(self._contents.lists)

    def __getitem__(self, name: str) -> FeatureSet:
        return self.list(name).features

    def list(self, name: str) -> NamedList:
        """Return a list with its note and colour.

        Raises
        ------
        InputError
            There is no such list.
        """
        if name not in self._contents.lists:
            raise InputError(unknown("list", name, self._contents.lists))
        return self._contents.lists[name]

    def add(
        self,
        name: str,
        features: Iterable[str | FeatureRef] | str | FeatureRef = (),
        *,
        note: str | None = None,
        colour: str | None = None,
    ) -> FeatureSet:
        """Add features to a list, which is made where there is none of that name.

        Parameters
        ----------
        name
            The list.
        features
            References; those already in the list stay where they are.
        note, colour
            Of the list; None leaves what is there.

        Returns
        -------
        FeatureSet
            The whole list.

        Raises
        ------
        InputError
            The name or the colour is none, or a reference is not written ``sae/index``.
        """
        check_name(name)
        new = FeatureSet.of(features)
        changes: dict[str, Any] = {}
        if note is not None:
            changes["note"] = check_text(note, "note")
        if colour is not None:
            changes["colour"] = check_colour(colour) or None
        with self._lock:
            old = self._contents.lists.get(name, NamedList())
            changes["features"] = old.features | new
            self._contents.lists[name] = dataclasses.replace(old, **changes)
            return self[name]

    def remove(
        self, name: str, features: Iterable[str | FeatureRef] | str | FeatureRef
    ) -> FeatureSet:
        """Take features out of a list and return what is left; their labels stay.

        Raises
        ------
        InputError
            There is no such list, or a feature is not in it.
        """
        gone = FeatureSet.of(features)
        with self._lock:
            old = self.list(name)
            here = frozenset(old.features)
            missing = [str(ref) for ref in gone if ref not in here]
            if missing:
                raise InputError(unknown(f"feature of list {name!r}", missing[0], map(str, here)))
            left = tuple(ref for ref in old.features if ref not in frozenset(gone))
            self._contents.lists[name] = dataclasses.replace(old, features=FeatureSet(left))
            return self[name]

    def rename(self, name: str, new: str) -> None:
        """Give a list another name, in its place.

        Raises
        ------
        InputError
            There is no such list, or one of the new name already.
        """
        check_name(new)
        with self._lock:
            self.list(name)
            if new != name and new in self._contents.lists:
                raise InputError(f"there is a list {new!r} already; add to it, or choose another")
            self._contents.lists = {
                new if old == name else old: found for old, found in self._contents.lists.items()
            }

    def delete(self, name: str) -> NamedList:
        """Drop a list and return it; its features keep their labels.

        Raises
        ------
        InputError
            There is no such list.
        """
        with self._lock:
            found = self.list(name)
            del self._contents.lists[name]
            return found

    # -- looking ------------------------------------------------------------------------------

    def every(self) -> Iterator[FeatureRef]:
        """Give every feature annotated or listed, some of them more than once."""
        yield from self._contents.features
        for found in self._contents.lists.values():
            yield from found.features

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per feature: its label, note, colour, and the lists it is in."""
        import pandas as pd

        places: dict[FeatureRef, list[str]] = {ref: [] for ref in self._contents.features}
        for name, found in self._contents.lists.items():
            for ref in found.features:
                places.setdefault(ref, []).append(name)
        rows = []
        for ref, names in places.items():
            noted = self.annotation(ref)
            rows.append(
                {
                    "feature": str(ref),
                    "label": noted.label,
                    "note": noted.note,
                    "colour": noted.colour,
                    "other_labels": noted.other_labels,
                    "lists": tuple(names),
                }
            )
        columns = ["feature", "label", "note", "colour", "other_labels", "lists"]
        return pd.DataFrame(rows, columns=columns)

    def __len__(self) -> int:
        return len(self._contents.lists)

    def __contains__(self, name: object) -> bool:
        return name in self._contents.lists

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ListsInMemory) and self._contents == other._contents

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"FeatureLists({len(self)} lists, {len(self.features)} features annotated)"

    def _repr_html_(self) -> str:
        rows = self.to_pandas().to_html(escape=True, index=False, max_rows=40, na_rep="")
        return f"<div>{html.escape(repr(self))}</div>{rows}"

    def to_dict(self) -> Mapping[str, Any]:
        """Return what the file holds, as JSON-ready data."""
        return self._contents.to_dict()
