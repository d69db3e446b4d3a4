"""Neuronpedia's addresses of features, read and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef

__all__ = ["SITE", "FeatureLink", "feature_url", "parse_feature_url", "split_address"]

SITE = "https://www.neuronpedia.org"
_HOSTS = {"neuronpedia.org", "www.neuronpedia.org"}
_LONGEST = 1 << 20
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, kw_only=True)
class FeatureLink:
    """A feature on Neuronpedia.

    Parameters
    ----------
    model
        Model name there (``gpt2-small``).
    source
        Source name there (``6-res-jb``): layer and source set.
    index
        Feature index, from 0.
    """

    model: str
    source: str
    index: int

    @property
    def neuronpedia_id(self) -> str:
        """What SAELens stores with an SAE: ``model/source``."""
        return f"{self.model}/{self.source}"

    @property
    def layer(self) -> int | None:
        """The layer the source name begins with, None where it does not."""
        match = re.match(r"(\d{1,6})-", self.source)
        return int(match[1]) if match else None

    @property
    def source_set(self) -> str:
        """The source name without its layer."""
        return re.sub(r"^\d{1,6}-", "", self.source)

    @property
    def url(self) -> str:
        """Its address."""
        return feature_url(self.neuronpedia_id, self.index)

    def ref(self, saes: Mapping[str, str]) -> FeatureRef:
        """Return the feature of an attached SAE this is.

        Parameters
        ----------
        saes
            Names of attached SAEs by ``model/source``.

        Raises
        ------
        InputError
            No attached SAE has this source.
        """
        if self.neuronpedia_id not in saes:
            raise InputError(unknown("Neuronpedia source", self.neuronpedia_id, saes))
        return FeatureRef(saes[self.neuronpedia_id], self.index)


def feature_url(neuronpedia_id: str, index: int) -> str:
    """Return the address of a feature's page.

    Parameters
    ----------
    neuronpedia_id
        ``model/source``, as SAELens stores it with an SAE.
    index
        Feature index, from 0.

    Raises
    ------
    InputError
        Not of that form.
    """
    parts = neuronpedia_id.split("/")
    if len(parts) != 2 or not all(map(PART.fullmatch, parts)):
        raise InputError(
            f"a Neuronpedia id is written 'model/source', such as 'gpt2-small/6-res-jb'; got "
            f"{neuronpedia_id!r}"
        )
    if index < 0:
        raise InputError(f"feature indices begin at 0, got {index}")
    return f"{SITE}/{'/'.join(quote(part, safe='') for part in parts)}/{index}"


def parse_feature_url(url: str) -> FeatureLink:
    """Read a feature's address: of its page, of the API, or bare ``model/source/index``.

    Raises
    ------
    InputError
        Another site, or not the address of a feature.
    """
    parts = [unquote(part) for part in split_address(url)[0]]
    if parts[:2] == ["api", "feature"]:
        parts = parts[2:]
    if len(parts) != 3 or not all(map(PART.fullmatch, parts[:2])) or not NUMBER.fullmatch(parts[2]):
        raise InputError(
            f"expected {SITE}/model/source/index, such as {SITE}/gpt2-small/6-res-jb/417; got "
            f"{url[:200]!r}"
        )
    return FeatureLink(model=parts[0], source=parts[1], index=int(parts[2]))


def split_address(url: str) -> tuple[list[str], dict[str, str]]:
    """Return path parts and parameters of an address on Neuronpedia.

    Raises
    ------
    InputError
        Another site, or no address.
    """
    if len(url) > _LONGEST:
        raise InputError(f"an address of {len(url):,} characters; expected at most {_LONGEST:,}")
    try:
        split = urlsplit(url.strip())
        host = split.hostname
    except ValueError as error:
        raise InputError(f"not an address: {url[:200]!r} ({error})") from error
    if split.scheme not in ("", "http", "https") or (host and host.lower() not in _HOSTS):
        raise InputError(f"expected an address on {SITE}, got {url[:200]!r}")
    path = split.path
    for name in _HOSTS:
        # Typed without https://, a host is the beginning of the path.
        path = path.removeprefix(f"{name}/")
    return [part for part in path.split("/") if part], dict(parse_qsl(split.query))
