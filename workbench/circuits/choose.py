"""Which sites are split into nodes, and into what."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from workbench.circuits.metrics import Metric
from workbench.circuits.units import HeadSite, NeuronSite, NodeSite, SaeSite, TokenSite
from workbench.errors import InputError, SaeError, unknown

if TYPE_CHECKING:
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["UNITS", "choose_sites"]

UNITS = ("features", "neurons", "heads")


def choose_sites(
    session: Session,
    sites: str | Iterable[str] | None,
    units: str | Mapping[str, str],
    metric: Metric,
) -> list[NodeSite]:
    """Return the sites of a circuit, in order of computation.

    Parameters
    ----------
    session
        Model and SAEs.
    sites
        Names of SAEs, or of sites for neurons and heads. None: every attached SAE; for neurons the
        sites these write; for heads every attention layer's `z`. Where several SAEs write one
        site, None takes the first that is no transcoder.
    units
        ``"features"``, ``"neurons"``, ``"heads"``, or a mapping from the names in `sites` to these.
    metric
        Sites that come after all it reads are left out: they cannot act on it.

    Raises
    ------
    InputError
        Unknown units, two names for one site, or nothing left.
    SaeError
        There is no SAE of that name.
    """
    if isinstance(sites, str):
        sites = [sites]
    names = None if sites is None else list(sites)
    by_name = dict(units) if isinstance(units, Mapping) else {}
    default = units if isinstance(units, str) else "features"
    for unit in (*by_name.values(), default):
        if unit not in UNITS:
            raise InputError(unknown("unit", str(unit), UNITS))
    if names is None and by_name:
        raise InputError("units by site need sites=[...] to say which sites there are")
    for name in by_name:
        if names is not None and name not in names:
            raise InputError(unknown("site among sites", name, names))
    if names is None:
        found = _defaults(session, default)
    else:
        found = [_one(session, name, by_name.get(name, default)) for name in names]
    found.sort(key=lambda site: (site.written.order, site.written.name))
    for before, after in itertools.pairwise(found):
        if before.written == after.written:
            raise InputError(
                f"{before.name!r} and {after.name!r} both stand for site {after.written.name}; "
                "choose one of them with sites=[...]"
            )
    kept = [site for site in found if _acts_on(session, site, metric)]
    if not kept:
        raise InputError(
            f"none of the sites {[site.name for site in found]} comes before what the metric "
            f"reads ({', '.join(metric.sites) or 'the logits'})"
        )
    return kept


def _acts_on(session: Session, site: NodeSite, metric: Metric) -> bool:
    if metric.needs != "nothing" or not metric.sites:
        return True
    last = max(session.sites.resolve(name).order for name in metric.sites)
    return site.written.order <= last


def _defaults(session: Session, unit: str) -> list[NodeSite]:
    if unit == "heads":
        return [_one(session, site.name, unit) for site in session.sites.with_kind("z")]
    written: dict[str, Sae] = {}
    for sae in sorted(session.saes.values(), key=lambda each: each.is_transcoder):
        if sae.site is not None and sae.out_site is not None:
            written.setdefault((sae.out_site if sae.is_transcoder else sae.site).name, sae)
    if not written:
        raise InputError(
            "no SAEs are attached: attach some with session.attach(...), or pass units='neurons' "
            "or 'heads' with sites=[...]"
        )
    if unit == "neurons":
        return [_one(session, name, unit) for name in written]
    found: list[NodeSite] = [_sae_site(sae) for sae in written.values()]
    embed = session.sites.resolve("embed")
    if embed.name not in written:
        found.append(TokenSite(name="embed", written=embed, source=embed))
    return found


def _one(session: Session, name: str, unit: str) -> NodeSite:
    if unit == "features":
        if name in session.saes:
            return _sae_site(session.saes[name])
        if name == "embed":
            embed = session.sites.resolve("embed")
            return TokenSite(name="embed", written=embed, source=embed)
        raise SaeError(unknown("SAE", name, session.saes))
    site = session.sites.resolve(name)
    if site.d is None:
        raise InputError(f"site {name!r} has no fixed width, so it has no {unit}")
    if unit == "neurons":
        return NeuronSite(name=site.name, written=site, source=site)
    if site.kind != "z":
        raise InputError(
            f"heads are at the sites 'z.L', where they are still apart; got {site.name!r}"
        )
    return HeadSite(name=site.name, written=site, source=site, n_heads=session.model.n_heads)


def _sae_site(sae: Sae) -> SaeSite:
    if sae.site is None or sae.out_site is None:
        raise SaeError(f"SAE {sae.name} is not attached to a model, so it has no site")
    written = sae.out_site if sae.is_transcoder else sae.site
    return SaeSite(name=sae.name, written=written, source=sae.site, sae=sae)
