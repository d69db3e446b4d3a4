"""The data of a feature's page: where it fires, how strongly, what it writes, what is near it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int, Integer

from workbench.features.refs import FeatureRef
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Context",
    "ContextGroup",
    "Dashboard",
    "GroupKind",
    "HeadSource",
    "Histogram",
    "Neighbour",
    "NeuronShare",
    "TokenEffect",
]

GroupKind = Literal["top", "width", "quantile", "brush", "silent"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Some tokens of one document around the token that brought them here.

    Parameters
    ----------
    document
        Number of the document in the corpus.
    start
        Position of the first token shown: in the document, or, for contexts of a feature index, in
        the index's tokens.
    peak
        Which of the tokens shown the context is for.
    tokens, token_ids
        The tokens, as a person reads them and as ids. Untrusted text.
    values
        Activation of the feature at each token; NaN where it is not known.
    """

    document: int
    start: int
    peak: int
    tokens: tuple[str, ...]
    token_ids: Integer[np.ndarray, " pos"]
    values: Float[np.ndarray, " pos"]

    @property
    def value(self) -> float:
        """Activation at the token the context is for."""
        return float(self.values[self.peak])


def _known(context: Context, special: Sequence[int]) -> Context:
    """Cut a context to the stretch of known activations around the token it is for."""
    values = np.where(
        np.isnan(context.values) & np.isin(context.token_ids, special), 0, context.values
    ).astype(context.values.dtype)
    gaps = np.flatnonzero(np.isnan(values))
    first = int(gaps[gaps < context.peak].max(initial=-1)) + 1
    stop = int(gaps[gaps > context.peak].min(initial=len(context.values)))
    return Context(
        document=context.document,
        start=context.start + first,
        peak=context.peak - first,
        tokens=context.tokens[first:stop],
        token_ids=context.token_ids[first:stop],
        values=values[first:stop],
    )


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class ContextGroup:
    """Contexts from one range of activations.

    Parameters
    ----------
    kind
        ``"top"`` (largest activations, distinct documents), ``"width"`` (intervals of equal
        width), ``"quantile"`` (intervals of equal counts), ``"brush"`` (a range somebody chose),
        ``"silent"`` (the feature does not fire).
    low, high
        The range of activations, `low` included, `high` excluded; both 0 for ``"silent"``.
    fraction_low, fraction_high
        The same range as fractions of the feature's activations below it; for ``"quantile"``.
    total
        How many activations of the corpus lie in the range; None where that is not counted.
    contexts
        A sample of them, or for ``"top"`` the largest.
    """

    kind: GroupKind
    low: float
    high: float
    total: int | None
    contexts: tuple[Context, ...]
    fraction_low: float | None = None
    fraction_high: float | None = None

    @property
    def name(self) -> str:
        """The range in words."""
        if self.kind == "top":
            return "top"
        if self.kind == "silent":
            return "does not fire"
        if self.kind == "quantile" and self.fraction_low is not None:
            return f"quantile {self.fraction_low:.2f}–{self.fraction_high:.2f} (equal counts)"
        return f"activation {self.low:.3g}–{self.high:.3g}"


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """Counts of activations between edges.

    Parameters
    ----------
    edges
        Ascending bin edges.
    counts
        Activations in each bin.
    """

    edges: Float[np.ndarray, " bins_plus_one"]
    counts: Int[np.ndarray, " bins"]


@storable
@dataclass(frozen=True, kw_only=True)
class TokenEffect:
    """A token and what one unit of the feature adds to its logit.

    Parameters
    ----------
    token, token_id
        The token. Untrusted text.
    value
        Direct logit effect of one unit of activation.
    """

    token: str
    token_id: int
    value: float


@storable
@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another feature and how near it is.

    Parameters
    ----------
    feature
        The other feature, written ``sae/index``.
    score
        Cosine of the decoder directions, or for co-firing the fraction of this feature's tokens
        on which the other fires too.
    label
        Its label, None without one. Untrusted text.
    """

    feature: str
    score: float
    label: str | None = None


@storable
@dataclass(frozen=True, kw_only=True)
class NeuronShare:
    """One coordinate of the decoder direction.

    Parameters
    ----------
    neuron
        Coordinate in the activation space the feature writes to.
    value
        The decoder direction's entry there.
    share
        Its absolute value as a fraction of the direction's L1 norm.
    """

    neuron: int
    value: float
    share: float


@storable
@dataclass(frozen=True, kw_only=True)
class HeadSource:
    """Where an attention-output feature's activation came from (direct feature attribution).

    Parameters
    ----------
    head
        Attention head.
    position
        Source position in the context shown; negative for tokens before it.
    value
        Contribution of the head's reading from there to the feature's pre-activation.
    token
        The token there; empty where it is not known. Untrusted text.
    """

    head: int
    position: int
    value: float
    token: str = ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dashboard(Result):
    """Everything a feature's page shows.

    Parameters
    ----------
    feature
        The feature, written ``sae/index``.
    site, out_site
        Where its SAE reads and, for transcoders, writes (equal otherwise).
    d_sae, architecture
        Of its SAE.
    label
        Its label, None without one. Untrusted text.
    description
        A longer description and how it was made, None without one.
    counted_tokens, fires
        Tokens counted (special ones left out), and on how many the feature fires.
    maximum, mean
        Largest activation, and mean over the tokens on which it fires.
    histogram
        Of nonzero activations.
    groups
        Contexts by range of activation.
    raises, lowers
        Tokens whose logits it moves most, by falling size.
    logit_histogram
        Direct effects on all tokens' logits.
    similar
        Nearest decoder directions, within its SAE and across SAEs on the same space.
    cofiring
        Features that fire where it fires.
    neurons
        The decoder direction's largest coordinates.
    encoder_decoder_cosine
        Cosine of the encoder and decoder directions; None where the spaces differ.
    complete
        False while the index it came from was still being built.
    sources
        For attention-output features: which heads and source tokens the activation in the
        strongest context came from, by falling size.
    reads_raised, reads_lowered
        For transcoders, whose encoder reads another space than the decoder writes: tokens whose
        embedding raises and lowers the feature's pre-activation most.
    similar_encoders
        For transcoders: nearest encoder directions, of SAEs that read the same site.
    stated_density
        Fraction of tokens that came with the SAE or file, counted elsewhere; None without one.
    """

    view_class: ClassVar[str | None] = "workbench.widgets.feature:FeatureView"

    feature: str
    site: str
    out_site: str
    d_sae: int
    architecture: str
    label: str | None = None
    description: str | None = None
    counted_tokens: int
    fires: int
    maximum: float
    mean: float
    histogram: Histogram
    groups: tuple[ContextGroup, ...]
    raises: tuple[TokenEffect, ...]
    lowers: tuple[TokenEffect, ...]
    logit_histogram: Histogram
    similar: tuple[Neighbour, ...]
    cofiring: tuple[Neighbour, ...] = ()
    neurons: tuple[NeuronShare, ...]
    encoder_decoder_cosine: float | None
    complete: bool = True
    sources: tuple[HeadSource, ...] = field(default=())
    reads_raised: tuple[TokenEffect, ...] = field(default=())
    reads_lowered: tuple[TokenEffect, ...] = field(default=())
    similar_encoders: tuple[Neighbour, ...] = field(default=())
    stated_density: float | None = None

    @property
    def ref(self) -> FeatureRef:
        """The feature as a reference."""
        return FeatureRef.parse(self.feature)

    @property
    def density(self) -> float:
        """Fraction of counted tokens on which the feature fires."""
        return self.fires / self.counted_tokens if self.counted_tokens else float("nan")

    def known(self) -> Dashboard:
        """Return the page with its contexts cut to the tokens whose activations are known.

        What an index does not keep (activations far from a context's own token) is NaN, which
        other tools' files cannot hold. Special tokens, which are not counted, stand as 0 there
        where the session that knows them is at hand.
        """
        special = [] if self.session is None else self.session.tokenizer.all_special_ids
        groups = (
            dataclasses.replace(
                group, contexts=tuple(_known(context, special) for context in group.contexts)
            )
            for group in self.groups
        )
        made = dataclasses.replace(self, groups=tuple(groups))
        return made if self.session is None else made.bound_to(self.session)

    @property
    def strongest(self) -> Context | None:
        """The context with the largest activation, None where the feature never fires."""
        top = next((group for group in self.groups if group.kind == "top"), None)
        return top.contexts[0] if top is not None and top.contexts else None

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per context: group, document, position, token, value, text around it."""
        import pandas as pd

        rows = [
            {
                "group": group.name,
                "document": context.document,
                "position": context.start + context.peak,
                "token": context.tokens[context.peak],
                "value": context.value,
                "before": "".join(context.tokens[: context.peak]),
                "after": "".join(context.tokens[context.peak + 1 :]),
            }
            for group in self.groups
            for context in group.contexts
        ]
        columns = ["group", "document", "position", "token", "value", "before", "after"]
        return pd.DataFrame(rows, columns=columns)

    def summary(self) -> str:
        """Return one line: the feature, its label, how often it fires."""
        label = f" {self.label!r}" if self.label else ""
        return (
            f"Dashboard {self.feature}{label}: density {self.density:.3%}, max {self.maximum:.3g}, "
            f"fires on {self.fires:,} of {self.counted_tokens:,} tokens"
        )
