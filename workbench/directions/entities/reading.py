"""Recognition along any text: the features' activation at every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from workbench.directions.entities.separation import Side
from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["RecognitionReading", "read_recognition"]

_EACH = 3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RecognitionReading(Result):
    """Activation of recognition features at each token of a text.

    Parameters
    ----------
    tokens
        The tokens as a person reads them.
    special
        Tokens that are not the text's own.
    features
        The features, written ``sae/index``.
    sides
        What each speaks for: ``"known"``, ``"unknown"``, or empty where the study does not say.
    values
        Their activations.
    scale
        Each feature's largest activation on the study's names, to compare with (0 where it never
        fired on one).
    """

    tokens: tuple[str, ...]
    special: Bool[np.ndarray, " token"] = field(repr=False)
    features: tuple[str, ...]
    sides: tuple[str, ...]
    values: Float[np.ndarray, "feature token"] = field(repr=False)
    scale: Float[np.ndarray, " feature"] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per token and one column per feature."""
        import pandas as pd

        table = pd.DataFrame(self.values.T, columns=list(self.features))
        table.insert(0, "token", self.tokens)
        return table

    def summary(self) -> str:
        """Return one line: the strongest feature of each side and where."""
        parts = []
        own = np.where(self.special, -np.inf, self.values)
        for side in ("known", "unknown"):
            rows = [i for i, s in enumerate(self.sides) if s == side]
            if rows:
                best = own[rows]
                feature, token = np.unravel_index(best.argmax(), best.shape)
                if best[feature, token] > 0:
                    parts.append(
                        f"{side} {best[feature, token]:.2f} at {self.tokens[token]!r} "
                        f"({self.features[rows[int(feature)]]})"
                    )
        return "RecognitionReading: " + ("; ".join(parts) or "no recognition feature fires")


def read_recognition(
    session: Session,
    study: EntityStudy,
    text: str,
    features: Sequence[str] | FeatureSet | None = None,
    *,
    policy: TokenPolicy | None = None,
) -> RecognitionReading:
    """Read a text with recognition features.

    Parameters
    ----------
    session
        Model and SAEs.
    study
        Which features, and how strong they are on names.
    text
        Any text.
    features
        Which features; the three best of each side where None.
    policy
        Token policy; the session's where None.

    Raises
    ------
    InputError
        There are no features.
    """
    sides: tuple[Side, ...] = ("known", "unknown")
    by_side = {side: study.top(side) for side in sides}
    if features is None:
        chosen = by_side["known"][:_EACH] | by_side["unknown"][:_EACH]
    else:
        chosen = FeatureSet.of(features)
    if not len(chosen):
        raise InputError("the study found no recognition features; pass features=...")
    tokens = session.model.tokens(text, policy)
    sites = {name: session.saes[name].site for name in chosen.saes}
    ran = session.model.run(tokens, capture=[site for site in sites.values() if site is not None])
    values = np.zeros((len(chosen), int(tokens.mask[0].sum())), dtype=np.float32)
    for name, site in sites.items():
        if site is None:
            raise InputError(f"SAE {name} is not attached to a site")
        rows = [i for i, ref in enumerate(chosen) if ref.sae == name]
        acts = session.saes[name].encode_features(ran[site][0], list(chosen.of_sae(name)))
        values[rows] = acts.detach().float().cpu().numpy().T
    return RecognitionReading(
        provenance=session.model.provenance(tokens.policy, saes=chosen.saes),
        tokens=tokens.strings[0],
        special=tokens.special[0].numpy()[: values.shape[1]],
        features=tuple(str(ref) for ref in chosen),
        sides=tuple(next((side for side in sides if ref in by_side[side]), "") for ref in chosen),
        values=values,
        scale=np.array(
            [study.activations(ref).max() if ref.sae in study.codes else 0.0 for ref in chosen],
            dtype=np.float32,
        ),
    ).bound_to(session)
