"""Reading a text: every token, the features active on it, and what the model expects next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from workbench.errors import InputError, SaeError, TokenError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model
    from workbench.model.passes import Pass
    from workbench.model.sites import Site
    from workbench.model.tokens import Chat, TokenPolicy
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["Reading", "SaeReading", "read"]

NEXT_TOKENS = 10
EFFECT_TOKENS = 5
MOST_SAES = 32
# Multiply-adds spent on direct logit effects per SAE; beyond it only the strongest features get
# them, so that a large vocabulary does not make reading slow.
_EFFECT_BUDGET = 4_000_000_000
_FEWEST_EFFECTS = 32


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class SaeReading:
    """What one SAE saw in a text.

    Parameters
    ----------
    sae, site
        Name of the SAE and of the site it reads.
    d_sae, architecture
        Its number of features and its SAELens architecture.
    position, feature, value
        All active (position, feature) pairs with their activations, by position, then by falling
        activation.
    features
        The features present, ascending.
    density
        Fraction of counted tokens on which each of `features` fires; NaN where unknown.
    max_activation
        Largest activation known of each; NaN where unknown.
    labels
        Label of each, None where there is none. Untrusted text.
    raises, lowers
        Tokens whose logits each of `features` raises and lowers most (direct effect); empty for
        weak features when the vocabulary is large.
    """

    sae: str
    site: str
    d_sae: int
    architecture: str
    position: Int[np.ndarray, " n"] = field(repr=False)
    feature: Int[np.ndarray, " n"] = field(repr=False)
    value: Float[np.ndarray, " n"] = field(repr=False)
    features: Int[np.ndarray, " m"] = field(repr=False)
    density: Float[np.ndarray, " m"] = field(repr=False)
    max_activation: Float[np.ndarray, " m"] = field(repr=False)
    labels: tuple[str | None, ...] = field(repr=False)
    raises: tuple[tuple[str, ...], ...] = field(repr=False)
    lowers: tuple[tuple[str, ...], ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reading(Result):
    """A text as the model and its SAEs see it.

    Parameters
    ----------
    text
        The text; for a conversation, as the chat template writes it.
    messages
        The conversation, None for a plain text.
    tokens
        The tokens as a person reads them.
    token_ids
        Their ids.
    special
        True at tokens that are not the user's text.
    log_prob
        Log-probability of each token given those before it, in nats; NaN at the first.
    next_tokens
        At each position the ten most likely next tokens: (token, id, probability).
    saes
        What each SAE saw.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.prompt:PromptView"

    text: str
    messages: tuple[Mapping[str, str], ...] | None = None
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, " pos"]
    special: Bool[np.ndarray, " pos"]
    log_prob: Float[np.ndarray, " pos"]
    next_tokens: tuple[tuple[tuple[str, int, float], ...], ...]
    saes: tuple[SaeReading, ...]

    def sae(self, name: str) -> SaeReading:
        """Return what one SAE saw.

        Raises
        ------
        SaeError
            The SAE was not read.
        """
        for reading in self.saes:
            if reading.sae == name:
                return reading
        raise SaeError(unknown("SAE in this reading", name, [r.sae for r in self.saes]))

    @property
    def main_sae(self) -> str | None:
        """The SAE to look at first: on the stream, nearest the middle; None if none was read."""
        names = [reading.sae for reading in self.saes]
        stream = [r.sae for r in self.saes if r.site.startswith("resid_post") and r.sae == r.site]
        chosen = stream or names
        return chosen[len(chosen) // 2] if chosen else None

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per active (SAE, position, feature).

        Returns
        -------
        DataFrame
            Columns ``sae``, ``position``, ``token``, ``feature`` (written ``sae/index``),
            ``index``, ``value``, ``density``, ``label``, ``special``.
        """
        import pandas as pd

        frames = []
        for reading in self.saes:
            column = np.searchsorted(reading.features, reading.feature)
            labels = np.array(reading.labels, dtype=object)
            tokens = np.array(self.tokens, dtype=object)
            frames.append(
                pd.DataFrame(
                    {
                        "sae": reading.sae,
                        "position": reading.position,
                        "token": tokens[reading.position],
                        "feature": [f"{reading.sae}/{index}" for index in reading.feature],
                        "index": reading.feature,
                        "value": reading.value,
                        "density": reading.density[column],
                        "label": labels[column],
                        "special": self.special[reading.position],
                    }
                )
            )
        if not frames:
            return pd.DataFrame({"position": range(len(self.tokens)), "token": self.tokens})
        return pd.concat(frames, ignore_index=True)

    def top(
        self, k: int = 10, *, sae: str | None = None, token: str | int | None = None
    ) -> FeatureSet:
        """Return the strongest features.

        Parameters
        ----------
        k
            How many.
        sae
            Only this SAE's.
        token
            Only at this token: a position (negative counts from the end), or the token's text
            (stripped of spaces; its last occurrence).

        Returns
        -------
        FeatureSet
            By falling largest activation; activations at special tokens are left out unless
            `token` names one.
        """
        rows = self.to_pandas()
        if sae is not None:
            rows = rows[rows["sae"] == self.sae(sae).sae]
        if token is None:
            rows = rows[~rows["special"]]
        else:
            rows = rows[rows["position"] == self._position(token)]
        best = rows.groupby("feature", sort=False)["value"].max().sort_values(ascending=False)
        return FeatureSet(tuple(FeatureRef.parse(str(name)) for name in best.head(k).index))

    def _position(self, token: str | int) -> int:
        if isinstance(token, int):
            if not -len(self.tokens) <= token < len(self.tokens):
                raise InputError(f"position {token} is outside a text of {len(self.tokens)} tokens")
            return token % len(self.tokens)
        found = [i for i, name in enumerate(self.tokens) if name.strip() == token.strip()]
        if not found:
            raise InputError(unknown("token", token, [name.strip() for name in self.tokens]))
        return found[-1]

    def plot(self, sae: str | None = None, k: int = 15) -> Any:
        """Draw the strongest features of one SAE over the tokens.

        Parameters
        ----------
        sae
            Name of the SAE; the first one read where None.
        k
            How many features, by largest activation away from special tokens.

        Returns
        -------
        plotly.graph_objects.Figure
            A heatmap: tokens across, features down, activation as colour.
        """
        import plotly.graph_objects as go

        from workbench.plots import STRENGTH, styled

        if sae is None and not self.saes:
            raise InputError("no SAE was read, so there is nothing to plot")
        reading = self.sae(sae) if sae is not None else self.saes[0]
        chosen = self.top(k, sae=reading.sae)
        grid = np.zeros((len(chosen), len(self.tokens)))
        names = []
        for row, ref in enumerate(chosen):
            here = reading.feature == ref.index
            grid[row, reading.position[here]] = reading.value[here]
            label = reading.labels[int(np.searchsorted(reading.features, ref.index))]
            names.append(f"{ref}  {label}" if label else str(ref))
        figure = go.Figure(
            go.Heatmap(
                z=grid,
                x=[f"{i} {token}" for i, token in enumerate(self.tokens)],
                y=names,
                colorscale=STRENGTH,
                colorbar={"title": "activation"},
                hovertemplate="%{y}<br>%{x}<br>activation %{z:.3f}<extra></extra>",
            )
        )
        figure.update_yaxes(autorange="reversed")
        return styled(figure, title=reading.sae, x="token", y="feature", rows=len(names))

    def summary(self) -> str:
        """Return one line: tokens, SAEs, active features."""
        active = sum(len(reading.value) for reading in self.saes)
        return (
            f"Reading: {len(self.tokens)} tokens, {len(self.saes)} SAEs, "
            f"{active:,} feature activations"
        )


def read(
    session: Session,
    text: str | Chat,
    *,
    saes: str | Iterable[str] | None = None,
    policy: TokenPolicy | None = None,
) -> Reading:
    """Run a text once and read every chosen SAE on it.

    Parameters
    ----------
    session
        The session.
    text
        One text or conversation.
    saes
        Names of the SAEs to read; None for all attached ones, in the order of computation.
    policy
        Token policy; the session's own where None.

    Returns
    -------
    Reading

    Raises
    ------
    SaeError
        An SAE name is unknown, or None was given with more than 32 SAEs attached.
    TokenError
        The text is empty, too long, or several texts.
    """
    chosen = _choose(session, saes)
    model = session.model
    tokens = model.tokens(text, policy)
    if len(tokens) != 1:
        raise TokenError(f"read takes one text, got {len(tokens)}")
    sites = list(dict.fromkeys(_site(sae).name for sae in chosen))
    # One pass serves every SAE; logits are wanted too, so it runs to the end.
    ran = model.run(tokens, capture=sites, logits=True)
    ids = tokens.ids[0].numpy()
    log_prob, next_tokens = _predictions(model, ran, ids)
    return Reading(
        provenance=model.provenance(tokens.policy, saes=[sae.name for sae in chosen]),
        text=text if isinstance(text, str) else model.tokenizer.decode(ids),
        messages=None if isinstance(text, str) else tuple(dict(said) for said in text),
        tokens=tokens.strings[0],
        token_ids=ids,
        special=tokens.special[0].numpy(),
        log_prob=log_prob,
        next_tokens=next_tokens,
        saes=tuple(_read_sae(model, sae, ran) for sae in chosen),
    ).bound_to(session)


def _choose(session: Session, saes: str | Iterable[str] | None) -> list[Sae]:
    if saes is None:
        if len(session.saes) > MOST_SAES:
            raise SaeError(
                f"{len(session.saes)} SAEs are attached; choose which to read with saes=[...] "
                f"(at most {MOST_SAES} are read without being named)"
            )
        return sorted(session.saes.values(), key=lambda sae: _site(sae).order)
    names = [saes] if isinstance(saes, str) else list(saes)
    return [session.saes[name] for name in names]


def _site(sae: Sae) -> Site:
    if sae.site is None:
        raise SaeError(f"SAE {sae.name!r} is not attached to a model; use session.attach(...)")
    return sae.site


def _predictions(
    model: Model, ran: Pass, ids: Int[np.ndarray, " pos"]
) -> tuple[Float[np.ndarray, " pos"], tuple[tuple[tuple[str, int, float], ...], ...]]:
    assert ran.logits is not None  # noqa: S101 - asked for
    log_probs = ran.logits[0].float().log_softmax(-1).cpu()
    of_token = np.full(len(ids), np.nan)
    if len(ids) > 1:
        of_token[1:] = log_probs[:-1].gather(1, torch.tensor(ids[1:, None]))[:, 0].numpy()
    best = log_probs.topk(min(NEXT_TOKENS, log_probs.shape[-1]), dim=-1)
    rows = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return of_token, tuple(
        tuple((model.token_string(i), i, p) for i, p in zip(row, probs, strict=True))
        for row, probs in rows
    )


def _read_sae(model: Model, sae: Sae, ran: Pass) -> SaeReading:
    acts = sae.encode(ran[_site(sae)])
    position = acts.rows().cpu().numpy()
    feature = acts.indices.cpu().numpy()
    value = acts.values.float().cpu().numpy()
    order = np.lexsort((-value, position))
    position, feature, value = position[order], feature[order], value[order]
    features, column = np.unique(feature, return_inverse=True)
    peak = np.full(len(features), -np.inf)
    np.maximum.at(peak, column, value)
    density = sae.density()
    labels = sae.labels()
    raises, lowers = _effects(model, sae, features, peak)
    return SaeReading(
        sae=sae.name,
        site=_site(sae).name,
        d_sae=sae.d_sae,
        architecture=sae.architecture,
        position=position,
        feature=feature,
        value=value,
        features=features,
        density=np.full(len(features), np.nan) if density is None else density[features],
        max_activation=np.full(len(features), np.nan),
        labels=tuple(labels.get(int(index)) for index in features),
        raises=raises,
        lowers=lowers,
    )


def _effects(
    model: Model, sae: Sae, features: Int[np.ndarray, " m"], peak: Float[np.ndarray, " m"]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """Tokens moved most by each feature's decoder row, for as many features as the budget takes."""
    empty: list[tuple[str, ...]] = [() for _ in features]
    raises, lowers = list(empty), list(empty)
    if not len(features) or sae.decoder_rows([0]).shape[-1] != model.d_model:
        return tuple(raises), tuple(lowers)
    affordable = max(_FEWEST_EFFECTS, _EFFECT_BUDGET // (model.d_model * model.d_vocab))
    chosen = np.argsort(-peak)[:affordable]
    rows = sae.decoder_rows(torch.tensor(features[chosen]))
    effects = model.readout.top(rows, EFFECT_TOKENS)
    for place, up, down in zip(
        chosen, effects.raised.tolist(), effects.lowered.tolist(), strict=True
    ):
        raises[place] = tuple(model.token_string(token) for token in up)
        lowers[place] = tuple(model.token_string(token) for token in down)
    return tuple(raises), tuple(lowers)
