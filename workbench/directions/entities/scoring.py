"""Every feature of every attached SAE at each entity's last token, in one pass.

What follows a name cannot change what a causal model computes there, so prompts are cut after it;
a pass stops at the deepest SAE; rows of like length go together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse

from workbench.directions.entities.answers import Progress, StoppedError
from workbench.directions.entities.prompts import PromptTokens
from workbench.errors import InputError, SaeError, unknown
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.model.tokens import Tokens
    from workbench.saes.acts import FeatureActs
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["EntityActs", "EntityCodes", "choose_saes", "general_density", "read_entities"]

FIRES = 1e-6
"""A feature fires above this activation (Ferrando et al. 2024)."""

_BATCH_TOKENS = 2048


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class EntityCodes:
    """Sparse code of one SAE at the last token of each entity.

    Parameters
    ----------
    sae
        Name of the SAE.
    site
        Where its features write (short name).
    layer
        Its layer, None outside the blocks.
    d_sae
        Number of features.
    offsets, indices, values
        Compressed rows, one per entity.
    density
        Share of general tokens each feature fires on; None where that is not known.
    """

    sae: str
    site: str
    layer: int | None
    d_sae: int
    offsets: Int[np.ndarray, " entities_plus_one"]
    indices: Int[np.ndarray, " nnz"]
    values: Float[np.ndarray, " nnz"]
    density: Float[np.ndarray, " d_sae"] | None = None

    @classmethod
    def of(cls, sae: Sae, acts: FeatureActs, density: np.ndarray | None) -> EntityCodes:
        """Keep the code of one SAE."""
        place = sae.out_site or sae.site
        return cls(
            sae=sae.name,
            site=place.name if place is not None else "",
            layer=place.layer if place is not None else None,
            d_sae=sae.d_sae,
            offsets=acts.offsets.cpu().numpy(),
            indices=acts.indices.cpu().numpy(),
            values=acts.values.float().cpu().numpy(),
            density=density,
        )

    def matrix(self) -> sparse.csr_matrix:
        """Return the code as a sparse matrix [entities, d_sae]."""
        shape = (len(self.offsets) - 1, self.d_sae)
        return sparse.csr_matrix((self.values, self.indices, self.offsets), shape=shape)

    def column(self, feature: int) -> Float[np.ndarray, " entities"]:
        """Return one feature's activation at each entity.

        Raises
        ------
        InputError
            There is no such feature.
        """
        if not 0 <= feature < self.d_sae:
            raise InputError(f"{self.sae} has features 0 to {self.d_sae - 1}, got {feature}")
        found = np.zeros(len(self.offsets) - 1, dtype=np.float32)
        hit = self.indices == feature
        rows = np.repeat(np.arange(len(found)), np.diff(self.offsets))
        found[rows[hit]] = self.values[hit]
        return found

    def firing(self, rows: Bool[np.ndarray, " entities"]) -> Float[np.ndarray, " d_sae"]:
        """Return the share of the chosen entities on which each feature fires.

        Parameters
        ----------
        rows
            Which entities; at least one.
        """
        if not rows.any():
            raise InputError("firing rates need at least one entity")
        entries = np.repeat(rows, np.diff(self.offsets)) & (self.values > FIRES)
        return np.bincount(self.indices[entries], minlength=self.d_sae) / int(rows.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityActs:
    """What one pass over the entities gave.

    Parameters
    ----------
    acts
        Activation at each name's last token by site, float32 on the CPU.
    codes
        By SAE.
    """

    acts: Mapping[str, Float[torch.Tensor, "entities d"]]
    codes: Mapping[str, EntityCodes]


def choose_saes(session: Session, names: Iterable[str] | str | None = None) -> tuple[str, ...]:
    """Say which SAEs can be scored.

    Parameters
    ----------
    session
        Where they are attached.
    names
        Which ones; None for all that encode a token by itself (temporal SAEs read whole
        sequences, and are left out).

    Raises
    ------
    SaeError
        One is not attached, or is temporal.
    InputError
        There are none.
    """
    if names is None:
        chosen = [name for name in session.saes if session.saes[name].architecture != "temporal"]
    else:
        chosen = [names] if isinstance(names, str) else list(names)
        for name in chosen:
            if name not in session.saes:
                raise SaeError(unknown("SAE", str(name), session.saes))
            if session.saes[name].architecture == "temporal":
                raise SaeError(
                    f"SAE {name} is temporal: it encodes whole sequences, not single tokens"
                )
        chosen = [session.saes[name].name for name in chosen]
    if not chosen:
        raise InputError("no SAEs to score: attach some with session.attach(...)")
    return tuple(dict.fromkeys(chosen))


def read_entities(
    session: Session,
    prompts: PromptTokens,
    saes: Sequence[str],
    *,
    sites: Iterable[str] = (),
    density: Mapping[str, np.ndarray | None] | None = None,
    batch_tokens: int = _BATCH_TOKENS,
    progress: Progress | None = None,
) -> EntityActs:
    """Read activations and codes at the last token of each name.

    Parameters
    ----------
    session
        Model and SAEs.
    prompts
        Prompts with the place of the name.
    saes
        Names of SAEs.
    sites
        More sites to keep activations of.
    density
        Firing rate of each feature on general tokens, by SAE.
    batch_tokens
        About how many tokens go into one pass.
    progress
        Called after each pass; returning False stops.

    Returns
    -------
    EntityActs

    Raises
    ------
    StoppedError
        By `progress`.
    """
    read = [session.saes[name] for name in saes]
    names = [sae.site.name for sae in read if sae.site is not None]
    names += [session.sites.resolve(site).name for site in sites]
    wanted = list(dict.fromkeys(names))
    cut = prompts.cut()
    acts = _last_tokens(session, cut, wanted, batch_tokens, progress)
    codes = {}
    for sae in read:
        if sae.site is not None:
            encoded = sae.encode(acts[sae.site.name])
            codes[sae.name] = EntityCodes.of(sae, encoded, (density or {}).get(sae.name))
    return EntityActs(acts={name: part.float() for name, part in acts.items()}, codes=codes)


def _last_tokens(
    session: Session,
    prompts: PromptTokens,
    sites: Sequence[str],
    batch_tokens: int,
    progress: Progress | None,
) -> dict[str, torch.Tensor]:
    model = session.model
    lengths = prompts.last + 1
    order = torch.argsort(lengths, stable=True)
    kept: dict[str, torch.Tensor] = {}
    start, total = 0, len(prompts)
    while start < total:
        size = 1
        while start + size < total:
            longest = int(lengths[order[start + size]])
            if (size + 1) * longest > batch_tokens:
                break
            size += 1
        chosen = order[start : start + size]
        part = prompts.take(chosen.tolist())
        ran = model.run(part.tokens, capture=sites)
        rows = torch.arange(size)
        for site in sites:
            here = ran[site][rows, part.last].flatten(1).cpu()
            if site not in kept:
                kept[site] = here.new_empty(total, here.shape[1])
            kept[site][chosen] = here
        start += size
        if progress is not None and progress("scoring", start, total) is False:
            raise StoppedError(f"stopped after scoring {start} of {total} entities")
    return kept


def general_density(
    session: Session, saes: Sequence[str], texts: Sequence[str] | Tokens | None
) -> dict[str, np.ndarray | None]:
    """Return the share of general tokens on which each feature fires.

    Parameters
    ----------
    session
        Model and SAEs.
    saes
        Names of SAEs.
    texts
        General text; special tokens are not counted. None takes the rates the SAEs' authors
        measured and stored beside the weights, and gives None for SAEs without.
    """
    if texts is None:
        return {name: session.saes[name].density() for name in saes}
    model = session.model
    tokens = model.tokens(texts, dataclasses.replace(model.policy, chat=False))
    sites = {name: place.name for name in saes if (place := session.saes[name].site) is not None}
    counts = {name: np.zeros(session.saes[name].d_sae) for name in saes}
    seen = 0
    rows = max(1, _BATCH_TOKENS // tokens.ids.shape[1])
    for ran in model.stream(tokens, batch_size=rows, capture=list(dict.fromkeys(sites.values()))):
        own = ran.tokens.mask & ~ran.tokens.special
        seen += int(own.sum())
        for name, site in sites.items():
            code = session.saes[name].encode(ran[site][own.to(ran[site].device)])
            fired = code.indices[code.values > FIRES].cpu().numpy()
            counts[name] += np.bincount(fired, minlength=len(counts[name]))
    if not seen:
        raise InputError("the general texts hold no tokens that count (special ones do not)")
    return {name: count / seen for name, count in counts.items()}
