"""References to features, and sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from workbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeatureRef", "FeatureSet"]


@dataclass(frozen=True, order=True)
class FeatureRef:
    """One feature of one attached SAE, written ``resid_post.2/417``.

    Parameters
    ----------
    sae
        Name the SAE is attached under.
    index
        Feature index, from 0.
    """

    sae: str
    index: int

    @classmethod
    def parse(cls, text: str | FeatureRef) -> FeatureRef:
        """Read the written form.

        Raises
        ------
        InputError
            Not of the form ``sae/index``.
        """
        if isinstance(text, FeatureRef):
            return text
        sae, slash, index = str(text).rpartition("/")
        if not slash or not sae or not index.isdecimal():
            raise InputError(f"a feature is written 'sae/index', such as 'embed/3'; got {text!r}")
        return cls(sae, int(index))

    def __str__(self) -> str:
        return f"{self.sae}/{self.index}"


@dataclass(frozen=True)
class FeatureSet(Sequence[FeatureRef]):
    """An ordered set of features: what brushing gives and what instruments take.

    Parameters
    ----------
    refs
        The features; repeats are dropped, order is kept.
    """

    refs: tuple[FeatureRef, ...] = ()

    def __post_init__(self) -> None:
        parsed = (FeatureRef.parse(ref) for ref in self.refs)
        object.__setattr__(self, "refs", tuple(dict.fromkeys(parsed)))

    @classmethod
    def of(cls, refs: Iterable[str | FeatureRef] | str | FeatureRef) -> FeatureSet:
        """Build from references or their written forms, one or several."""
        if isinstance(refs, str | FeatureRef):
            refs = [refs]
        return cls(tuple(FeatureRef.parse(ref) for ref in refs))

    @overload
    def __getitem__(self, index: int) -> FeatureRef: ...
    @overload
    def __getitem__(self, index: slice) -> FeatureSet: ...
    def __getitem__(self, index: int | slice) -> FeatureRef | FeatureSet:
        return FeatureSet(self.refs[index]) if isinstance(index, slice) else self.refs[index]

    def __len__(self) -> int:
        return len(self.refs)

    def __iter__(self) -> Iterator[FeatureRef]:
        return iter(self.refs)

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str | FeatureRef) and FeatureRef.parse(item) in self.refs

    def __or__(self, other: FeatureSet) -> FeatureSet:
        return FeatureSet(self.refs + other.refs)

    def __and__(self, other: FeatureSet) -> FeatureSet:
        return FeatureSet(tuple(ref for ref in self.refs if ref in other.refs))

    def __sub__(self, other: FeatureSet) -> FeatureSet:
        return FeatureSet(tuple(ref for ref in self.refs if ref not in other.refs))

    @property
    def saes(self) -> tuple[str, ...]:
        """Names of the SAEs the features belong to, in order of first appearance."""
        return tuple(dict.fromkeys(ref.sae for ref in self.refs))

    def of_sae(self, sae: str) -> tuple[int, ...]:
        """Return the indices of the features of one SAE."""
        return tuple(ref.index for ref in self.refs if ref.sae == sae)

    def to_pandas(self) -> pd.DataFrame:
        """Return columns ``feature``, ``sae``, ``index``."""
        import pandas as pd

        return pd.DataFrame(
            [(str(ref), ref.sae, ref.index) for ref in self.refs],
            columns=["feature", "sae", "index"],
        )

    def __repr__(self) -> str:
        shown = ", ".join(str(ref) for ref in self.refs[:6])
        more = f", … {len(self) - 6} more" if len(self) > 6 else ""
        return f"FeatureSet({len(self)}: {shown}{more})"

    def _repr_html_(self) -> str:
        return self.to_pandas().to_html(escape=True, index=False)
