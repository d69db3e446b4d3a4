"""The files of a feature index, opened and checked."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import InputError, LoadError, SaeError, unknown
from workbench.features.index import manifest
from workbench.features.index.finish import GROUP
from workbench.features.index.parts import CHUNK
from workbench.features.index.settings import IndexSettings
from workbench.features.index.table import FeatureTable
from workbench.features.refs import FeatureRef
from workbench.types import Provenance

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["IndexFiles"]


class IndexFiles:
    """What an index holds. Files are mapped, not read: opening costs little however large it is.

    Parameters
    ----------
    path
        Its folder.
    session
        Model and SAEs it must fit; gives token strings. None to open it by itself.
    verify
        Also read every file and compare it with the hash it was written with.

    Raises
    ------
    LoadError
        The folder holds no finished index, it is damaged, was written by a newer version, or is of
        other weights or another token policy than the session's.
    """

    def __init__(
        self, path: str | Path, *, session: Session | None = None, verify: bool = False
    ) -> None:
        self.path = Path(path).expanduser()
        if not (self.path / manifest.MANIFEST).is_file():
            state = "an unfinished" if (self.path / manifest.BUILD).is_file() else "no"
            raise LoadError(
                f"{str(self.path)!r} holds {state} feature index; build it with "
                "session.index(corpus, path)"
            )
        self.manifest = manifest.read(self.path / manifest.MANIFEST)
        complaints = manifest.damage(self.path, self.manifest, content=verify)
        if complaints:
            raise LoadError(
                f"the index in {str(self.path)!r} is damaged: {'; '.join(complaints[:4])}. "
                "Remove the folder and build it again"
            )
        if session is not None:
            found = manifest.check_against(self.manifest, session.model, session.saes)
            if found:
                raise LoadError(
                    f"the index in {str(self.path)!r} does not fit this session: {'; '.join(found)}"
                )
        self.session = session
        self.settings = IndexSettings.from_dict(self.manifest["settings"])
        self._saes = {sae["name"]: sae for sae in self.manifest["saes"]}
        self._lock = threading.RLock()
        self._files: dict[str, pq.ParquetFile] = {}

    # -- description --------------------------------------------------------------------------

    @property
    def saes(self) -> tuple[str, ...]:
        """Names of the SAEs indexed."""
        return tuple(self._saes)

    @property
    def partial(self) -> bool:
        """Whether it is of the parts of an unfinished build."""
        return bool(self.manifest.get("partial", False))

    @property
    def n_features(self) -> int:
        """Features of all SAEs together."""
        return sum(sae["d_sae"] for sae in self._saes.values())

    @property
    def n_tokens(self) -> int:
        """Tokens read, special ones included."""
        return int(self.manifest["counts"]["tokens"])

    @property
    def n_counted(self) -> int:
        """Tokens counted in statistics: the documents' own text. Densities are of these."""
        return int(self.manifest["counts"]["counted"])

    @property
    def n_documents(self) -> int:
        """Documents read, those without text included."""
        return int(self.manifest["counts"]["documents"])

    @property
    def provenance(self) -> Provenance:
        """What the index was computed from."""
        model = self.manifest["model"]
        finished = self.log.get("finished", "")
        return Provenance(
            model=model["name"],
            model_fingerprint=model["fingerprint"],
            saes=self.saes,
            token_policy=self.manifest["token_policy"],
            device=model["device"],
            dtype=model["dtype"],
            versions=self.manifest["versions"],
            seed=self.settings.seed,
            created=finished,
        )

    @property
    def log(self) -> dict[str, Any]:
        """When it was finished, how long that took (seconds) and how fast (tokens per second)."""
        path = self.path / "log.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def __repr__(self) -> str:
        state = "partial, " if self.partial else ""
        return (
            f"{type(self).__name__}({self.path.name!r}, {state}{self.n_features:,} features of "
            f"{len(self.saes)} SAEs, {self.n_counted:,} counted tokens of {self.n_documents:,} "
            "documents)"
        )

    # -- data ---------------------------------------------------------------------------------

    @functools.cached_property
    def tokens(self) -> np.ndarray:
        """All token ids, row after row ``[tokens]``, mapped from disk."""
        return self._mapped("tokens.npy")

    @functools.cached_property
    def special(self) -> np.ndarray:
        """Which tokens are not the documents' own text ``[tokens]``, mapped from disk."""
        return self._mapped("special.npy")

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Where each row begins in `tokens`, and the end ``[rows + 1]``, mapped from disk."""
        return self._mapped("rows.npy")

    @functools.cached_property
    def runs(self) -> np.ndarray:
        """Where tokens of another document begin, and its number ``[runs, 2]``, mapped."""
        return self._mapped("runs.npy")

    @functools.cached_property
    def silent_positions(self) -> np.ndarray:
        """Tokens of the stretches kept to show where features are silent ``[stretches]``."""
        return np.asarray(self._mapped("silent.npy"))

    def _mapped(self, name: str) -> np.ndarray:
        try:
            array: np.ndarray = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise LoadError(f"{name} of the index cannot be read: {error}") from error
        return array

    @functools.cached_property
    def documents(self) -> pd.DataFrame:
        """Every document: number, first token, number of tokens, and its metadata."""
        import pandas as pd

        return pd.read_parquet(self.path / "documents.parquet")

    @functools.cached_property
    def table(self) -> FeatureTable:
        """All features of all SAEs as one table, sorted and filtered without reading it whole."""
        return FeatureTable(self.path, self._saes)

    def sae(self, name: str) -> Mapping[str, Any]:
        """Describe one SAE as the manifest does.

        Raises
        ------
        SaeError
            It is not in the index.
        """
        if name not in self._saes:
            raise SaeError(unknown("SAE in this index", name, self._saes))
        described: Mapping[str, Any] = self._saes[name]
        return described

    def check(self, ref: str | FeatureRef) -> FeatureRef:
        """Read a reference to a feature of this index.

        Raises
        ------
        InputError, SaeError
            There is no such feature.
        """
        parsed = FeatureRef.parse(ref)
        size = self.sae(parsed.sae)["d_sae"]
        if parsed.index >= size:
            raise InputError(f"{parsed.sae} has features 0 to {size - 1:,}, got {parsed.index:,}")
        return parsed

    def statistics_row(self, ref: FeatureRef) -> dict[str, Any]:
        """Row of ``stats.parquet`` of one feature."""
        group = self._group(ref.sae, "stats", ref.index // CHUNK)
        row: dict[str, Any] = group.slice(ref.index % CHUNK, 1).to_pylist()[0]
        return row

    def context_rows(self, ref: FeatureRef) -> dict[str, np.ndarray]:
        """Rows of ``contexts.parquet`` of one feature, by position, as arrays."""
        group = self._group(ref.sae, "contexts", ref.index // GROUP)
        feature = group["feature"].to_numpy()
        start, end = np.searchsorted(feature, [ref.index, ref.index + 1])
        part = group.slice(start, end - start)
        return {name: part[name].to_numpy() for name in part.column_names}

    @functools.lru_cache(maxsize=32)  # noqa: B019 - bounded, and an index lives long
    def _group(self, sae: str, table: str, group: int) -> pa.Table:
        name = f"{self._saes[sae]['folder']}/{table}.parquet"
        with self._lock:
            try:
                if name not in self._files:
                    self._files[name] = pq.ParquetFile(self.path / name)
                return self._files[name].read_row_group(group).combine_chunks()
            except (OSError, pa.ArrowException) as error:
                raise LoadError(f"{name} of the index cannot be read: {error}") from error
