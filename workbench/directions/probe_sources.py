"""Where probes' units come from: SAE features, neurons and dimensions of texts, read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from scipy import sparse

from workbench.directions.activations import (
    Pooling,
    TextActs,
    TokensUsed,
    capture,
    pool_codes,
    pool_dense,
)
from workbench.directions.probe_ranking import Values
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.model.tokens import Tokens
    from workbench.session import Session

__all__ = ["Plan", "Source", "SourceReader", "make_plan"]

SITES = {"neurons": "mlp_post", "residual": "resid_post"}
# Texts read at once before they are pooled, so that the sites of a large model fit in memory.
_CHUNK = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Units of one kind at one site: rows × units."""

    kind: str
    name: str
    site: str
    layer: int | None
    values: Values


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be read: SAEs, sites with the kind of their units, and sites probed whole."""

    saes: tuple[str, ...]
    sites: dict[str, str]
    """Site to kind, of neurons and residual dimensions."""
    dense: tuple[str, ...]


def make_plan(
    session: Session,
    units: Sequence[str],
    saes: Sequence[str] | None,
    layers: Sequence[int] | None,
    *,
    dense: bool,
) -> Plan:
    """Decide what is to be read; see `workbench.directions.probes.probe`."""
    names: list[str] = []
    if "features" in units:
        wanted = list(session.saes) if saes is None else [saes] if isinstance(saes, str) else saes
        names = [session.saes[name].name for name in wanted]
        if not names and len(units) == 1:
            raise InputError("no SAEs are attached: nothing to probe; attach some")
    sites: dict[str, str] = {}
    depth = session.model.n_layers
    for layer in layers if layers is not None else range(depth):
        if not 0 <= layer < depth:
            raise InputError(f"layer {layer} does not exist, expected 0 to {depth - 1}")
        for kind, stem in SITES.items():
            if kind in units:
                sites[session.sites.resolve(f"{stem}.{layer}").name] = kind
    everywhere = [site for site, kind in sites.items() if kind == "residual"]
    for name in names:
        site = session.saes[name].site
        if site is None:
            raise InputError(f"SAE {name} is not attached to a site")
        everywhere.append(site.name)
    if not dense:
        everywhere = []
    return Plan(saes=tuple(names), sites=sites, dense=tuple(dict.fromkeys(everywhere)))


@dataclass(frozen=True)
class SourceReader:
    """Reads texts as a plan says."""

    session: Session
    tokens: Tokens
    plan: Plan
    level: str
    pooling: Pooling
    used: TokensUsed
    batch_size: int
    progress: Callable[[str, int, int], None] | None

    def read(self, texts: Sequence[Any]) -> tuple[list[Source], Int[np.ndarray, " edge"]]:
        """Read all texts once and reduce them to rows."""
        dense: dict[str, list[np.ndarray]] = {}
        codes: dict[str, list[sparse.csr_matrix]] = {}
        lengths: list[np.ndarray] = []
        for start in range(0, len(texts), _CHUNK):
            if self.progress is not None:
                self.progress("reading texts", start, len(texts))
            acts = capture(
                self.session,
                list(texts[start : start + _CHUNK]),
                sites=list(dict.fromkeys([*self.plan.sites, *self.plan.dense])),
                saes=self.plan.saes,
                used=self.used,
                policy=self.tokens.policy,
                batch_size=self.batch_size,
            )
            lengths.append(np.diff(acts.starts))
            for site in acts.acts:
                dense.setdefault(site, []).append(self._rows_of(acts, site))
            for name, code in acts.codes.items():
                pooled = code
                if self.level == "text":
                    pooled = pool_codes(code, acts.starts, self.pooling)
                codes.setdefault(name, []).append(pooled)
        whole = {site: np.concatenate(parts) for site, parts in dense.items()}
        sources = [
            self._source("features", name, str(self.session.saes[name].site), sparse.vstack(parts))
            for name, parts in codes.items()
        ]
        sources += [
            self._source(kind, site, site, whole[site]) for site, kind in self.plan.sites.items()
        ]
        sources += [self._source("dense", site, site, whole[site]) for site in self.plan.dense]
        return sources, np.concatenate([[0], np.cumsum(np.concatenate(lengths))])

    def _rows_of(self, acts: TextActs, site: str) -> np.ndarray:
        values = acts.acts[site].numpy()
        return pool_dense(values, acts.starts, self.pooling) if self.level == "text" else values

    def _source(self, kind: str, name: str, site: str, values: Any) -> Source:
        layer = self.session.sites.resolve(site).layer
        values = values.tocsr() if sparse.issparse(values) else values
        return Source(kind=kind, name=name, site=site, layer=layer, values=values)
