"""All SAEs of a session by name: attached cheaply, loaded on use, kept within a memory budget."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench.errors import InputError, SaeError, unknown
from workbench.model.sites import Site, short_name
from workbench.saes.attach import (
    check_model_name,
    check_model_weights,
    fit_site,
    site_name,
    wants_centring,
)
from workbench.saes.load import find_sources, folder_names
from workbench.saes.residency import MemoryBudget, Weights
from workbench.saes.sae import Sae
from workbench.saes.source import SaeSource, torch_dtype

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model

__all__ = ["SaeStore"]


class SaeStore(Mapping[str, Sae]):
    """SAEs by name.

    Iteration is in the order of attaching. Indexing takes the name, or any name of the site where
    exactly one SAE sits.

    Parameters
    ----------
    model
        The model they are attached to; None to keep SAEs without one.
    device
        Where weights are put; the model's device by default.
    dtype
        Precision weights are used in: float32, bfloat16 or float16.
    budget
        Bytes of weights that may be resident at once; None for no bound. Beyond it, the least
        recently used leave memory and load again on their next use.
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "float32",
        budget: int | None = None,
    ) -> None:
        self.model = model
        self.device = torch.device(device or (model.device if model is not None else "cpu"))
        self.dtype = torch_dtype(dtype)
        self._memory = MemoryBudget(budget)
        self._saes: dict[str, Sae] = {}

    # -- mapping ------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Sae:
        found = self._find(name)
        if found is None:
            raise SaeError(unknown("SAE", str(name), self._saes))
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the SAE of a name, or `default`."""
        found = self._find(name)
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._saes)

    def __len__(self) -> int:
        return len(self._saes)

    def _find(self, name: str) -> Sae | None:
        if name in self._saes:
            return self._saes[name]
        here = self.at(name)
        return here[0] if len(here) == 1 else None

    def at(self, site: str | Site) -> tuple[Sae, ...]:
        """Return the SAEs that read a site, by any of its names; none is no error."""
        if self.model is not None and site in self.model.sites:
            wanted = self.model.sites.resolve(site).name
        else:
            wanted = short_name(str(site))
        return tuple(
            sae
            for sae in self._saes.values()
            if (sae.site.name if sae.site else site_name(sae.source)) == wanted
        )

    # -- attaching ----------------------------------------------------------------------------

    def attach(
        self,
        where: Any,
        *,
        sae_id: str | None = None,
        name: str | None = None,
        site: str | Site | None = None,
        out_site: str | Site | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        check_model: bool = True,
    ) -> tuple[Sae, ...]:
        """Attach one SAE or many; weights stay on disk until they are used.

        Parameters
        ----------
        where
            What `load_sae` takes; also a folder of SAE folders (named after the folders), a
            registry release (all its SAEs), or a mapping of names to any of these.
        sae_id
            Which SAE of a release.
        name
            Name to attach a single SAE under. By default the site's short name; a second SAE at
            the same site is called ``site#id``.
        site, out_site
            Where it goes, if its files do not say or another site is meant.
        device, dtype
            Override the store's.
        check_model
            Refuse SAEs that name another model or another model's weights.

        Returns
        -------
        tuple of Sae
            Those attached, in order. If one of them cannot be attached, none is.

        Raises
        ------
        SaeError
            If a file is unusable, the model has no such site, or widths or models differ.
        InputError
            If one name is given for several SAEs, or the name is taken.
        """
        if isinstance(where, Mapping):
            if name is not None or sae_id is not None:
                raise InputError("a mapping already names its SAEs: leave out name and sae_id")
            pairs = [(key, source) for key, item in where.items() for source in self._one(item)]
        else:
            pairs = self._named(where, sae_id, name)
        taken = dict(self._saes)
        attached = []
        for wanted, item in pairs:
            sae = self._make(
                item, site, out_site, device=device, dtype=dtype, check_model=check_model
            )
            sae.name = self._free_name(wanted, sae, taken)
            taken[sae.name] = sae
            attached.append(sae)
        self._saes = taken
        return tuple(attached)

    def _one(self, where: Any) -> list[Any]:
        items = _items(where, None)
        if len(items) != 1:
            raise InputError(f"{where} holds {len(items)} SAEs, expected one for one name")
        return items

    def _named(
        self, where: Any, sae_id: str | None, name: str | None
    ) -> list[tuple[str | None, Any]]:
        items = _items(where, sae_id)
        if name is not None and len(items) > 1:
            raise InputError(
                f"{where} holds {len(items)} SAEs, but one name {name!r} is given; attach them "
                "without a name, or pass a mapping of names"
            )
        if name is not None:
            return [(name, items[0])]
        names = folder_names(where, items)
        return list(zip(names, items, strict=True))

    def _make(
        self,
        item: Any,
        site: str | Site | None,
        out_site: str | Site | None,
        *,
        device: str | torch.device | None,
        dtype: str | torch.dtype | None,
        check_model: bool,
    ) -> Sae:
        source = item.source if isinstance(item, Sae) else item
        found = found_out = None
        centred = False
        if self.model is not None:
            found = fit_site(self.model, source, site)
            if source.config.is_transcoder:
                found_out = fit_site(self.model, source, out_site, output=True)
            if check_model:
                check_model_name(self.model, source)
                check_model_weights(self.model, source)
            centred = wants_centring(self.model, source, found)
        weights = Weights(
            source,
            device=device or self.device,
            dtype=dtype or self.dtype,
            budget=self._memory,
        )
        return Sae("", weights, site=found, out_site=found_out, centred=centred)

    def _free_name(self, wanted: str | None, sae: Sae, taken: Mapping[str, Sae]) -> str:
        if wanted is not None:
            if wanted in taken:
                raise InputError(f"an SAE named {wanted!r} is attached already; give another name")
            return wanted
        site = sae.site.name if sae.site else site_name(sae.source)
        tail = Path(sae.source.identifier).name or sae.source.identifier
        name = site or tail
        if name not in taken:
            return name
        name = f"{name}#{sae.source.short_id or tail}"
        number = 2
        unique = name
        while unique in taken:
            unique = f"{name}~{number}"
            number += 1
        return unique

    def detach(self, name: str) -> None:
        """Remove an SAE and free its memory.

        Raises
        ------
        SaeError
            If there is none of that name.
        """
        sae = self[name]
        self._saes = {key: value for key, value in self._saes.items() if value is not sae}
        sae.unload()

    # -- memory -------------------------------------------------------------------------------

    @property
    def budget(self) -> int | None:
        """Bytes of weights that may be resident at once; assigning evicts down to it."""
        return self._memory.limit

    @budget.setter
    def budget(self, limit: int | None) -> None:
        self._memory.limit = limit

    @property
    def nbytes(self) -> int:
        """Bytes of weights resident now."""
        return self._memory.used

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the SAEs whose weights are in memory."""
        return tuple(name for name, sae in self._saes.items() if sae.resident)

    def unload(self) -> None:
        """Drop all weights that are not in use; SAEs stay attached."""
        for sae in self._saes.values():
            sae.unload()

    def close(self) -> None:
        """Detach everything and free the memory."""
        self.unload()
        self._saes = {}
        self._memory = MemoryBudget(self._memory.limit)

    # -- showing ------------------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per SAE: site, architecture, widths, dtype, resident, cost, provenance."""
        import pandas as pd

        columns = [
            *("name", "site", "out_site", "architecture", "d_in", "d_sae", "l0", "dtype"),
            *("device", "resident", "mib", "layout", "source"),
        ]
        rows = []
        for name, sae in self._saes.items():
            row = {
                **dataclasses.asdict(sae.provenance),
                "name": name,
                "site": str(sae.site) if sae.site else sae.config.hook,
                "out_site": str(sae.out_site) if sae.is_transcoder else None,
                "l0": sae.l0,
                "device": str(sae.device),
                "resident": sae.resident,
                "mib": round(sae.nbytes / 2**20, 1),
                "source": sae.source.identifier,
            }
            rows.append({column: row[column] for column in columns})
        return pd.DataFrame(rows, columns=columns)

    def _summary(self) -> str:
        bound = "no budget" if self.budget is None else f"of {self.budget / 2**20:,.0f} MiB"
        return (
            f"{len(self)} SAEs, {len(self.resident)} resident, {self.nbytes / 2**20:,.0f} MiB "
            f"{bound}"
        )

    def __repr__(self) -> str:
        names = ", ".join(list(self._saes)[:6]) + (", …" if len(self) > 6 else "")
        return f"SaeStore({self._summary()}: {names})"

    def _repr_html_(self) -> str:
        table: str = self.to_pandas().to_html(index=False, escape=True, na_rep="", max_rows=100)
        return f"<p>{html.escape(self._summary())}</p>{table}"


def _items(where: Any, sae_id: str | None) -> list[Any]:
    """One `Sae` stays what it is; everything else becomes descriptions."""
    if isinstance(where, Sae):
        return [where]
    if isinstance(where, SaeSource):
        return [where]
    return list(find_sources(where, sae_id=sae_id))
