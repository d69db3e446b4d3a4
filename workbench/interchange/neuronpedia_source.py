"""What a Neuronpedia export says once for all features of an SAE."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from workbench.errors import InputError
from workbench.features.dashboard import Dashboard
from workbench.interchange.urls import PART

__all__ = ["Source"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an export says once for all features of an SAE.

    Parameters
    ----------
    model
        Model name on Neuronpedia.
    layer
        Layer of the SAE.
    source_set
        Name of the set of SAEs, one per layer.
    suffix
        What tells apart SAEs of one set at one layer, None where nothing.
    release
        Name of the release.
    description
        What a person reads about the release.
    creator
        Name of who made the SAE.
    creator_id
        The creator's account, which Neuronpedia asks for on import.
    dataset
        Where the tokens came from.
    tokens_in_prompt
        Tokens in a prompt: counts are written as so many prompts of this length, rounded up.
    explained_by
        How labels were made, as Neuronpedia names it.
    """

    model: str
    layer: int
    source_set: str
    suffix: str | None = None
    release: str = "workbench"
    description: str = ""
    creator: str = ""
    creator_id: str = ""
    dataset: str = ""
    tokens_in_prompt: int = 1
    explained_by: str | None = None

    def __post_init__(self) -> None:
        for name in ("model", "source_set", "suffix"):
            value = getattr(self, name)
            if value is not None and not PART.fullmatch(value):
                raise InputError(
                    f"{name}: expected letters, digits, '-', '_' and '.', as in an address; got "
                    f"{value!r}"
                )
        if self.tokens_in_prompt < 1 or self.layer < 0:
            raise InputError(
                f"tokens_in_prompt must be at least 1 and layer at least 0, got "
                f"{self.tokens_in_prompt} and {self.layer}"
            )

    @classmethod
    def of(cls, dashboard: Dashboard, **changes: Any) -> Source:
        """Read model, layer and SAE from a dashboard.

        Parameters
        ----------
        dashboard
            Its SAE's name (``resid_post.2``) gives set and layer.
        **changes
            Fields to set otherwise.
        """

        def plain(name: str) -> str:
            return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._") or "unnamed"

        found: dict[str, Any] = {"model": plain(dashboard.provenance.model)}
        if match := re.fullmatch(r"(.+?)\.(\d+)(.*)", dashboard.ref.sae):
            found |= {"source_set": plain(match[1]), "layer": int(match[2])}
            found["suffix"] = plain(match[3]) if match[3] else None
        else:
            layer = re.search(r"\.(\d+)$", dashboard.site)
            found["source_set"] = plain(dashboard.ref.sae)
            found["layer"] = int(layer[1]) if layer else 0
        return cls(**{**found, **changes})

    @property
    def source(self) -> str:
        """Name of the source: layer, set and suffix."""
        return f"{self.layer}-{self.source_set}" + (f"__{self.suffix}" if self.suffix else "")

    @property
    def neuronpedia_id(self) -> str:
        """``model/source``, as SAELens stores it with an SAE."""
        return f"{self.model}/{self.source}"

    def rows(self, counted: int, created: str) -> dict[str, dict[str, Any]]:
        """Return the rows of the files that say something once, by file.

        Parameters
        ----------
        counted
            Tokens counted.
        created
            UTC time, ISO 8601.
        """
        made = {"creatorId": self.creator_id, "createdAt": created}
        return {
            "release": {
                "name": self.release,
                "description": self.description,
                "descriptionShort": self.description,
                "urls": [],
                "creatorNameShort": self.creator,
                "creatorName": self.creator,
                **made,
            },
            "model": {
                "id": self.model,
                "displayNameShort": self.model,
                "displayName": self.model,
                **made,
                "updatedAt": created,
            },
            "sourceset": {
                "modelId": self.model,
                "name": self.source_set,
                "description": self.description,
                "creatorName": self.creator,
                "releaseName": self.release,
                "visibility": "PUBLIC",
                **made,
            },
            "source": {
                "modelId": self.model,
                "id": self.source,
                "setName": self.source_set,
                "visibility": "PUBLIC",
                "dataset": self.dataset,
                "num_prompts": -(-counted // self.tokens_in_prompt),
                "num_tokens_in_prompt": self.tokens_in_prompt,
                **made,
            },
        }
