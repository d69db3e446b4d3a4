"""Small data types every room shares: where a result came from."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import importlib.metadata
from collections.abc import Mapping
from typing import Any

__all__ = ["Provenance", "package_versions"]

_RECORDED = ("interp-workbench", "torch", "transformers", "transformer-lens", "sae-lens")


@functools.cache
def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that decide numbers.

    Returns
    -------
    dict
        Distribution name to version; a distribution that is not installed is left out.
    """
    versions = {}
    for name in _RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _now() -> str:
    return dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a result was computed from: enough to compute it again or to refuse a mismatch.

    Parameters
    ----------
    model
        Name the model was opened under.
    model_fingerprint
        Hash over the model's configuration and weights.
    saes
        Names of the SAEs the result used, in order.
    token_policy
        The token policy as plain data.
    device, dtype
        Where and in which precision the model ran.
    versions
        Versions of the packages that decide numbers.
    seed
        Seed of anything sampled, None where nothing was.
    created
        UTC time, ISO 8601.
    """

    model: str
    model_fingerprint: str
    saes: tuple[str, ...] = ()
    token_policy: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    versions: Mapping[str, str] = dataclasses.field(default_factory=package_versions)
    seed: int | None = None
    created: str = dataclasses.field(default_factory=_now)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready data."""
        return {
            **dataclasses.asdict(self),
            "saes": list(self.saes),
            "token_policy": dict(self.token_policy),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Build from what `to_dict` gave; unknown keys are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in data.items() if key in names}
        known["saes"] = tuple(known.get("saes", ()))
        return cls(**known)
