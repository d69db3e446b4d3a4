"""`Direction`: a unit vector at a site that stands for something, with where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.token_scores import TokenScores
    from workbench.model.model import Model
    from workbench.model.tokens import Chat, TokenPolicy, Tokens
    from workbench.session import Session
    from workbench.types import Provenance

__all__ = ["Direction"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Direction(Result):
    """A unit vector at a site of a model.

    A token's score is ``h · vector + bias``, h the activation at the site.

    Parameters
    ----------
    name
        What it stands for.
    site
        Short name of the site (``resid_post.2``).
    vector
        Float32, L2 norm 1; another length is normalised and kept in `norm`.
    method
        How it was found (``"diff_mean"``, ``"feature"``, ...).
    scale
        Its largest activation max(h · vector) on the texts it was evaluated on, in units of the
        activation: what steering factors multiply (Wu et al. 2025, AxBench, section 4). None where
        it was not measured, or where no text was above zero.
    bias
        Added to h · vector in scores, 0 for methods without one.
    norm
        Length the method gave the vector before it was normalised.
    positive, negative
        What high and low scores mean.
    details
        Anything more the method says: plain JSON data.

    Raises
    ------
    InputError
        The vector is empty, zero, not finite or not one-dimensional, or the details are not JSON.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.direction:DirectionView"

    name: str
    site: str
    vector: Float[np.ndarray, " d"] = field(repr=False)
    method: str
    scale: float | None = None
    bias: float = 0.0
    norm: float = 1.0
    positive: str = ""
    negative: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vector = np.asarray(self.vector, dtype=np.float64)
        if vector.ndim != 1 or not vector.size:
            raise InputError(f"a direction is one vector, got shape {vector.shape}")
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise InputError(f"a direction needs a finite length above 0, got {length}")
        unit = (vector / length).astype(np.float32)
        unit.flags.writeable = False
        object.__setattr__(self, "vector", unit)
        # A vector that was unit length already, up to its rounding, keeps the norm it was given.
        if abs(length - 1) > 1e-4:
            object.__setattr__(self, "norm", self.norm * length)

    # -- making -------------------------------------------------------------------------------

    @classmethod
    def from_vector(
        cls,
        session: Session,
        site: str,
        vector: Any,
        *,
        name: str,
        method: str = "given",
        **fields: Any,
    ) -> Self:
        """Make a direction of a vector, checked against the model.

        Parameters
        ----------
        session
            The session whose model it belongs to.
        site
            Any name of the site.
        vector
            Array or tensor of the site's width.
        name, method, **fields
            As for the class.

        Raises
        ------
        SiteError
            The model has no such site.
        InputError
            The vector has another width.
        """
        if isinstance(vector, torch.Tensor):
            vector = vector.detach().float().cpu().numpy()
        direction = cls(
            provenance=session.model.provenance(),
            name=name,
            site=session.sites.resolve(site).name,
            vector=np.asarray(vector),
            method=method,
            **fields,
        )
        direction.check(session.model)
        return direction.bound_to(session)

    @classmethod
    def from_feature(
        cls, session: Session, ref: str | FeatureRef, *, name: str | None = None
    ) -> Self:
        """Take the decoder row of an SAE feature, at the site the SAE writes.

        Raises
        ------
        SaeError, InputError
            There is no such SAE or feature.
        """
        feature = FeatureRef.parse(ref)
        sae = session.saes[feature.sae]
        row = sae.decoder_rows([feature.index])[0].float().cpu().numpy()
        if sae.out_site is None:
            raise InputError(f"SAE {sae.name} is not attached to a site")
        return cls(
            provenance=session.model.provenance(saes=[sae.name]),
            name=name or sae.labels().get(feature.index) or str(feature),
            site=sae.out_site.name,
            vector=row,
            method="feature",
            positive=f"feature {feature} is active",
            details={"feature": str(feature)},
        ).bound_to(session)

    # -- use ----------------------------------------------------------------------------------

    @property
    def d(self) -> int:
        """Width of the site."""
        return len(self.vector)

    def check(self, model: Model, *, same_model: bool = True) -> None:
        """Refuse a model the direction does not belong to.

        Parameters
        ----------
        model
            The model it is to be used on.
        same_model
            Refuse another model of the same shape too.

        Raises
        ------
        SiteError
            The model has no such site.
        InputError
            The site's width differs, or the weights do.
        """
        site = model.sites.resolve(self.site)
        width = site.d
        if width is not None and width != self.d and (not site.per_head or self.d % width):
            raise InputError(
                f"direction {self.name!r} has {self.d} dimensions, but {self.site} of "
                f"{model.name} is {width} wide"
            )
        found = self.provenance.model_fingerprint
        if same_model and found != model.fingerprint:
            raise InputError(
                f"direction {self.name!r} was found in {self.provenance.model} (fingerprint "
                f"{found}), not in {model.name} ({model.fingerprint}); find it again in this model"
            )

    def to_torch(
        self,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[torch.Tensor, " d"]:
        """Return a copy of the vector as a tensor."""
        return torch.from_numpy(self.vector.copy()).to(device, dtype)

    def renamed(self, name: str) -> Self:
        """Return the same direction under another name."""
        return dataclasses.replace(self, name=name).bound_to(self.session)

    def reversed(self) -> Self:
        """Return the opposite direction, meanings swapped; the calibration does not carry over."""
        turned = dataclasses.replace(
            self,
            name=f"not {self.name}",
            vector=-self.vector,
            scale=None,
            bias=-self.bias,
            positive=self.negative,
            negative=self.positive,
        )
        return turned.bound_to(self.session)

    def cosine(self, other: Direction | Any) -> float:
        """Return the cosine with another direction or vector of the same width.

        Raises
        ------
        InputError
            The widths differ, or the other vector is zero.
        """
        vector = other.vector if isinstance(other, Direction) else other
        vector = np.asarray(vector, dtype=np.float64)
        length = np.linalg.norm(vector)
        if vector.shape != self.vector.shape or not length > 0:
            raise InputError(
                f"cosine needs a vector of {self.d} dimensions that is not zero, got shape "
                f"{vector.shape} of length {length:.3g}"
            )
        return float(self.vector.astype(np.float64) @ vector / length)

    def nearest(
        self,
        session: Session | None = None,
        k: int = 10,
        *,
        saes: Sequence[str] | None = None,
        labels: Callable[[FeatureRef], str | None] | None = None,
    ) -> pd.DataFrame:
        """Rank SAE features by the cosine of their decoder rows with the direction.

        Parameters
        ----------
        session
            Where the SAEs are; the session the direction is bound to where None.
        k
            How many, largest absolute cosine first.
        saes
            SAEs to look through; by default all that write a site of this width.
        labels
            Gives a feature's label; by default the labels stored with the SAEs.

        Returns
        -------
        DataFrame
            ``feature``, ``cosine``, ``label``, ``site`` (where the SAE writes), ``same_site``.

        Raises
        ------
        InputError
            No attached SAE writes a site of this width, or `k` is below 1.
        """
        from workbench.directions.neighbours import nearest_features

        return nearest_features(self, self._session_for(session), k, saes=saes, labels=labels)

    def score(
        self,
        session: Session | None,
        texts: str | Sequence[str] | Chat | Sequence[Chat] | Tokens,
        *,
        policy: TokenPolicy | None = None,
        batch_size: int = 32,
    ) -> TokenScores:
        """Score every token of texts; see `workbench.directions.token_scores.score_texts`."""
        from workbench.directions.token_scores import score_texts

        return score_texts(
            self._session_for(session), self, texts, policy=policy, batch_size=batch_size
        )

    def _session_for(self, session: Session | None) -> Session:
        found = session if session is not None else self.session
        if found is None:
            raise InputError("this direction is not bound to a session; pass one")
        return found

    # -- showing and files --------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """Return one row with everything but the vector."""
        import pandas as pd

        names = ("name", "site", "method", "scale", "bias", "norm", "positive", "negative")
        return pd.DataFrame([{**{n: getattr(self, n) for n in names}, "d": self.d}])

    def summary(self) -> str:
        """Return one line: what it stands for, where, how it was found."""
        scale = "not calibrated" if self.scale is None else f"largest activation {self.scale:.3g}"
        return f"Direction {self.name!r} at {self.site} ({self.method}, {self.d}-d, {scale})"

    def save(self, path: str | Path) -> Path:
        """Write ``path.safetensors`` and ``path.json``; see `workbench.directions.files`.

        A path that ends in ``.wb`` gives one file for `workbench.load` instead.

        Returns
        -------
        Path
            The safetensors file (or the ``.wb`` file).
        """
        from workbench.directions.files import write_direction

        target = Path(path).expanduser()
        return super().save(target) if target.suffix == ".wb" else write_direction(self, target)

    @classmethod
    def load(cls, path: str | Path, session: Session | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            Either of the two files, or their common name without suffix.
        session
            Bind the direction to it, after checking that it belongs to its model.

        Raises
        ------
        LoadError
            A file is missing, damaged, too large, or the two do not belong together.
        InputError
            The direction belongs to another model than the session's.
        """
        from workbench.directions.files import read_direction

        fields, provenance = read_direction(Path(path).expanduser())
        return cls._from_file(fields, provenance, session)

    @classmethod
    def _from_file(
        cls, fields: Mapping[str, Any], provenance: Provenance, session: Session | None
    ) -> Self:
        direction = cls(provenance=provenance, **fields)
        if session is not None:
            direction.check(session.model)
            direction.bound_to(session)
        return direction
