"""The registry of published SAEs, searched offline: by release and id, or by site, width and L0.

The table is the one SAELens ships (170 releases, 13,857 SAEs at the time of writing). It is read
straight from the package's file, so that a search neither imports SAELens nor needs a network.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench.errors import SaeError, nearest, unknown
from workbench.model.sites import short_name
from workbench.saes.formats.names import layer_in

__all__ = ["RegistryEntry", "find_registered", "parse_query", "parse_width", "releases"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegistryEntry:
    """One published SAE.

    Parameters
    ----------
    release, sae_id
        How it is asked for.
    repo_id, path
        Hub repository and the place in it.
    model
        Model it was trained on.
    conversion
        Name of SAELens's converter for its layout.
    layer, site, width, l0
        Read from the registry or from the id; None where neither says. `site` is a short name.
    """

    release: str
    sae_id: str
    repo_id: str
    path: str
    model: str
    conversion: str
    layer: int | None
    site: str | None
    width: int | None
    l0: float | None

    def __str__(self) -> str:
        return f"{self.release}/{self.sae_id}"


@functools.cache
def releases() -> Mapping[str, tuple[RegistryEntry, ...]]:
    """Return all entries by release.

    Raises
    ------
    SaeError
        If SAELens is not installed or its table has another form.
    """
    import yaml  # type: ignore[import-untyped]

    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise SaeError("the SAE registry comes with the package sae-lens, which is not installed")
    table = Path(spec.origin).parent / "pretrained_saes.yaml"
    with table.open(encoding="utf-8") as file:
        data = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    try:
        return {
            release: tuple(_entry(release, value, sae) for sae in value["saes"])
            for release, value in data.items()
        }
    except (KeyError, TypeError) as error:
        raise SaeError(f"{table}: not a registry this version understands ({error!r})") from error


def _entry(release: str, value: Mapping[str, object], sae: Mapping[str, object]) -> RegistryEntry:
    sae_id, path = str(sae["id"]), str(sae["path"])
    conversion = str(value.get("conversion_func") or "sae_lens")
    layer = _layer(sae_id, path)
    l0 = sae.get("l0")
    stated = re.search(r"average_l0_(\d+)", path)
    return RegistryEntry(
        release=release,
        sae_id=sae_id,
        repo_id=str(value["repo_id"]),
        path=path,
        model=str(value["model"]),
        conversion=conversion,
        layer=layer,
        site=_site(release, sae_id, path, conversion, layer),
        width=_width(release, sae_id, path, str(value["model"])),
        l0=float(l0) if isinstance(l0, int | float) else float(stated[1]) if stated else None,
    )


def _layer(sae_id: str, path: str) -> int | None:
    for text in (sae_id, path):
        found = layer_in(text)
        if found is None and (match := re.search(r"(?:^|[/_.-])[lL](\d+)(?:[ramRAM_]|$)", text)):
            found = int(match[1])
        if found is None and (match := re.fullmatch(r"(\d+)", text)):
            found = int(match[1])
        if found is not None:
            return found
    return None


# What the converters of SAELens read, by release name, where the id does not name a hook.
_SITES = (
    (r"transcoder|clt", "mlp_in"),
    (r"hook-z", "z"),
    (r"resid-mid", "resid_mid"),
    (r"attn-out", "attn_out"),
    (r"mlp|lxm", "mlp_out"),
    (r"lxa", "attn_out"),
    (r"(?:^|[-_])att(?:$|[-_])", "z"),
    (r"", "resid_post"),
)


def _site(release: str, sae_id: str, path: str, conversion: str, layer: int | None) -> str | None:
    if "embedding" in path or sae_id == "hook_embed":
        return "embed"
    if match := re.search(r"blocks\.\d+\.(?:attn\.)?hook_[a-z]+(?:_[a-z]+)?", sae_id):
        hook = re.sub(r"(blocks\.\d+)\.hook_z$", r"\1.attn.hook_z", match[0])
        return short_name(hook)
    if layer is None:
        return None
    if conversion.startswith("gemma_3") and "attn" in path:
        return f"z.{layer}"
    kind = next(kind for pattern, kind in _SITES if re.search(pattern, release))
    return f"{kind}.{layer}"


def _width(release: str, sae_id: str, path: str, model: str) -> int | None:
    text = f"{sae_id} {path} {release}"
    if match := re.search(r"2pow(\d+)", text):
        return 1 << int(match[1])
    if match := re.search(r"width_(\d+)([km])|v5[_-](\d+)(k)", text):
        return _power_of_two(match[1] or match[3], match[2] or match[4])
    if match := re.search(r"-w(\d+)k", text):
        return int(match[1]) * 1024
    if match := re.search(r"_ds(\d+)_|hook_resid_pre_(\d{3,})", text):
        return int(match[1] or match[2])
    if "Llama-3.1-8B" in model and (match := re.search(r"_(\d+)x", release)):
        return int(match[1]) * 4096
    return None


def _power_of_two(digits: str, unit: str) -> int:
    """``65k`` stands for 65,536, ``1m`` for 1,048,576."""
    return 1 << round(math.log2(int(digits) * {"k": 1_000, "m": 1_000_000}[unit]))


def parse_width(width: int | str) -> frozenset[int]:
    """Return the numbers of features a width may stand for (``"16k"``: 16,000 and 16,384).

    Raises
    ------
    SaeError
        If it is not a number, with or without k or m.
    """
    match = re.fullmatch(r"([\d_,]+)\s*([km]?)", str(width).strip().lower())
    if match is None:
        raise SaeError(f"got width {width!r}, expected a number such as 16384 or '16k'")
    number = int(re.sub(r"[_,]", "", match[1]))
    if not match[2]:
        return frozenset({number})
    scale = {"k": 1, "m": 2}[match[2]]
    sizes = {number * 1000**scale, number * 1024**scale}
    rounded = _power_of_two(str(max(number, 1)), match[2])
    # "65k" is short for 65,536: the digits are those of the number cut off.
    if rounded // 1000**scale == number:
        sizes.add(rounded)
    return frozenset(sizes)


def find_registered(
    release: str | None = None,
    *,
    model: str | None = None,
    site: str | None = None,
    layer: int | None = None,
    width: int | str | None = None,
    l0: float | None = None,
) -> list[RegistryEntry]:
    """Search the registry.

    Parameters
    ----------
    release
        One release; all of them by default.
    model
        Model name, with or without its organisation.
    site
        A site (``resid_post.12``), a kind of site (``resid_post``), or a hook name.
    layer
        Block number.
    width
        Number of features: 16384 or ``"16k"``.
    l0
        Wanted mean number of active features: the nearest come first, those whose L0 is not stated
        last. Without it the order is the registry's.

    Returns
    -------
    list of RegistryEntry
        Never empty.

    Raises
    ------
    SaeError
        If nothing matches; the message lists what there is for the criterion that failed.

    Examples
    --------
    ``find_registered("gemma-scope-2b-pt-res", layer=12, width="16k", l0=80)[0]``
    """
    table = releases()
    if release is not None and release not in table:
        raise SaeError(unknown("SAE release", release, table))
    chosen = [entry for name in ([release] if release else table) for entry in table[name]]
    if model is not None:
        chosen = _keep(
            chosen, "model", model, [e for e in chosen if _same_model(e.model, model)], "model"
        )
    if site is not None:
        wanted = short_name(site)
        kept = [e for e in chosen if e.site and wanted in (e.site, e.site.split(".")[0])]
        chosen = _keep(chosen, "site", wanted, kept, "site")
    if layer is not None:
        chosen = _keep(chosen, "layer", layer, [e for e in chosen if e.layer == layer], "layer")
    if width is not None:
        sizes = parse_width(width)
        chosen = _keep(chosen, "width", width, [e for e in chosen if e.width in sizes], "width")
    if l0 is not None:
        target = l0
        chosen.sort(key=lambda e: math.inf if e.l0 is None else abs(e.l0 - target))
    return chosen


def _keep(
    before: Iterable[RegistryEntry],
    name: str,
    wanted: object,
    kept: list[RegistryEntry],
    attribute: str,
) -> list[RegistryEntry]:
    if kept:
        return kept
    values = {getattr(entry, attribute) for entry in before} - {None}
    if all(isinstance(value, int) for value in values):
        listed = ", ".join(str(value) for value in sorted(values)[:40])
        raise SaeError(f"no SAE with {name} {wanted!r}; there are: {listed or 'none that say'}")
    raise SaeError("no SAE found: " + unknown(name, str(wanted), sorted(map(str, values))))


def _same_model(ours: str, wanted: str) -> bool:
    return ours.lower() == wanted.lower() or ours.lower().split("/")[-1] == wanted.lower()


_QUERY = re.compile(
    r"layer\s*(?P<layer>\d+)|width\s*(?P<width>[\d_]+\s*[km]?)"
    r"|l0\s*(?:nearest|near|about|~|≈|=)?\s*(?P<l0>[\d.]+)|(?:site|hook)\s*(?P<site>[\w.]+)",
    re.IGNORECASE,
)


def parse_query(text: str) -> RegistryEntry:
    """Find the one SAE that ``"release, layer 12, width 16k, L0 nearest 80"`` describes.

    Parts after the release are ``layer N``, ``width N``, ``site NAME`` and ``l0 N``, in any order.

    Raises
    ------
    SaeError
        If a part is not understood, nothing matches, or several match and no L0 is wanted.
    """
    release, *parts = (part.strip() for part in text.split(","))
    wanted: dict[str, str] = {}
    for part in parts:
        match = _QUERY.fullmatch(part)
        if match is None:
            raise SaeError(
                f"part {part!r} of {text!r} is not understood; expected 'layer 12', 'width 16k', "
                "'site resid_post.12' or 'l0 80'"
            )
        wanted |= {key: value for key, value in match.groupdict().items() if value}
    found = find_registered(
        release,
        layer=int(wanted["layer"]) if "layer" in wanted else None,
        width=wanted.get("width"),
        site=wanted.get("site"),
        l0=float(wanted["l0"]) if "l0" in wanted else None,
    )
    if "l0" not in wanted and len(found) > 1:
        some = [entry.sae_id for entry in found[:6]]
        raise SaeError(
            f"{len(found)} SAEs fit {text!r}: {some}{' …' if len(found) > 6 else ''}; add a layer, "
            "a width or an l0, or give the sae_id"
        )
    return found[0]


def entry_of(release: str, sae_id: str) -> RegistryEntry:
    """Return the entry of a release and id.

    Raises
    ------
    SaeError
        If there is none; the message names the nearest.
    """
    table = releases()
    if release not in table:
        raise SaeError(unknown("SAE release", release, table))
    for entry in table[release]:
        if entry.sae_id == sae_id:
            return entry
    ids = [entry.sae_id for entry in table[release]]
    hint = nearest(sae_id, ids, 5) or ids[:5]
    raise SaeError(
        f"release {release!r} has no SAE {sae_id!r}; nearest of its {len(ids)}: "
        f"{', '.join(map(repr, hint))}"
    )
