"""What an index is of: written when a build begins, checked whenever it is opened."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import LoadError
from workbench.features.index import disk
from workbench.features.index.scan import site_of
from workbench.features.index.settings import IndexSettings
from workbench.types import package_versions

if TYPE_CHECKING:
    from workbench.features.index.rows import RowPlan
    from workbench.model.model import Model
    from workbench.model.tokens import TokenPolicy
    from workbench.saes.sae import Sae

__all__ = ["BUILD", "MANIFEST", "SCHEMA", "check_against", "describe", "differences", "read"]

SCHEMA = 1
MANIFEST = "manifest.json"
BUILD = "build.json"


def describe(
    model: Model,
    saes: Sequence[Sae],
    policy: TokenPolicy,
    rows: RowPlan,
    settings: IndexSettings,
    limit: int | None,
) -> dict[str, Any]:
    """Say what an index is of, as plain data."""
    resolved = model.tokenizing.resolve(policy)
    return {
        "schema": SCHEMA,
        "kind": "feature index",
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "d_vocab": model.d_vocab,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        },
        "saes": [_describe_sae(sae) for sae in saes],
        "token_policy": resolved.to_dict(),
        "rows": dataclasses.asdict(rows),
        "settings": settings.to_dict(),
        "limit": limit,
        "versions": package_versions(),
    }


def _describe_sae(sae: Sae) -> dict[str, Any]:
    return {
        "name": sae.name,
        # The dash keeps names such as ".." from meaning anything to the file system.
        "folder": f"saes/sae-{urllib.parse.quote(sae.name, safe='')}",
        "fingerprint": sae.fingerprint,
        "site": site_of(sae).name,
        "out_site": sae.out_site.name if sae.out_site else None,
        "d_sae": sae.d_sae,
        "source": dataclasses.asdict(sae.provenance),
    }


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say in what a stored index differs from the one wanted; empty where it is the same."""
    found = []
    if stored["model"]["fingerprint"] != wanted["model"]["fingerprint"]:
        found.append(
            f"it was built with other weights of the model: {stored['model']['name']!r} "
            f"({stored['model']['fingerprint']}), here {wanted['model']['name']!r} "
            f"({wanted['model']['fingerprint']})"
        )
    ours, theirs = (
        {sae["name"]: sae["fingerprint"] for sae in side["saes"]} for side in (wanted, stored)
    )
    if list(ours) != list(theirs):
        found.append(f"it is of the SAEs {list(theirs)}, not of {list(ours)}")
    else:
        found += [f"SAE {name!r} has other weights" for name in ours if theirs[name] != ours[name]]
    found += _policy_differences(stored["token_policy"], wanted["token_policy"])
    for part in ("rows", "settings"):
        for name, value in wanted[part].items():
            if name != "block_tokens" and stored[part].get(name) != value:
                found.append(f"{name} is {stored[part].get(name)!r}, not {value!r}")
    if stored["limit"] != wanted["limit"]:
        found.append(f"tokens is {stored['limit']}, not {wanted['limit']}")
    return found


def _policy_differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"its token policy has {name}={stored.get(name)!r}, not {wanted.get(name)!r}"
        for name in ("bos", "chat")
        if stored.get(name) != wanted.get(name)
    ]


def check_against(stored: Mapping[str, Any], model: Model, saes: Mapping[str, Sae]) -> list[str]:
    """Say in what an index does not fit a session; SAEs that only one of them has do not matter."""
    found = []
    if stored["model"]["fingerprint"] != model.fingerprint:
        found.append(
            f"it was built with other weights: model {stored['model']['name']!r} "
            f"({stored['model']['fingerprint']}), this session has {model.name!r} "
            f"({model.fingerprint})"
        )
    for described in stored["saes"]:
        sae = saes.get(described["name"])
        if sae is not None and sae.fingerprint != described["fingerprint"]:
            found.append(
                f"SAE {described['name']!r} has other weights here than in the index "
                f"({sae.fingerprint[:8]} and {described['fingerprint'][:8]})"
            )
    return found + _policy_differences(stored["token_policy"], model.policy.to_dict())


def read(path: Path) -> dict[str, Any]:
    """Read ``manifest.json`` or ``build.json``.

    Raises
    ------
    LoadError
        It is not one, or one of a newer version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path.name} of the index cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != "feature index":
        raise LoadError(f"{str(path)!r} does not describe a feature index")
    schema = data.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise LoadError(
            f"{str(path.parent)!r} has schema {schema!r}, this version reads {SCHEMA}: it was "
            "written by a newer version; update the workbench"
        )
    missing = [
        key for key in ("model", "saes", "token_policy", "rows", "settings") if key not in data
    ]
    if missing:
        raise LoadError(f"{path.name} of the index lacks {missing}")
    return data


def damage(folder: Path, manifest: Mapping[str, Any], *, content: bool) -> list[str]:
    """Say which files of a finished index are missing, cut or (`content`) changed."""
    found = []
    files = manifest.get("files", {})
    for name, (size, expected) in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            found.append(f"{name} lies outside the index")
        elif not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size:
            found.append(f"{name} has {path.stat().st_size:,} bytes, expected {size:,}")
        elif content and disk.digest(path) != expected:
            found.append(f"{name} has another content than was written")
    for sae in manifest["saes"]:
        tables = (f"{sae['folder']}/{name}.parquet" for name in ("stats", "contexts"))
        found += [f"{name} is not among its files" for name in tables if name not in files]
    return found
