"""The same parts on a Ray cluster: blocks out, sketches back, nothing shared but that.

The driver reads the corpus, writes the parts and merges them; workers only run the model. They need
no common file system: model and SAEs travel once through Ray's object store. A block whose worker
dies is given to another.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from workbench.errors import InputError, WorkbenchError
from workbench.features.index.rows import RowBlock
from workbench.features.index.scan import PartSketch, Scanner, Stopped, site_of

if TYPE_CHECKING:
    from workbench.features.index.settings import IndexSettings
    from workbench.model.tokens import TokenPolicy
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["RayEngine"]

_RETRIES = 5
_WAIT_SECONDS = 0.5
_AHEAD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class _SaeParcel:
    """One SAE as it travels."""

    name: str
    module: Any
    site: str
    out_site: str | None
    centred: bool
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parcel:
    """What a worker needs to scan."""

    network: Any
    tokenizer: Any
    name: str
    policy: TokenPolicy
    fingerprint: str
    device: str
    saes: tuple[_SaeParcel, ...]
    settings: IndexSettings
    batch_tokens: int
    threads: int

    def unpack(self) -> Scanner:
        """Open model and SAEs in this process.

        Raises
        ------
        WorkbenchError
            What arrived is not what was sent.
        """
        from workbench.model import load
        from workbench.saes import SaeStore

        # A matrix product may differ in its last bit with the number of threads.
        torch.set_num_threads(self.threads)
        network = self.network.to(self.device)
        model = load(network, tokenizer=self.tokenizer, policy=self.policy)
        model.name = self.name
        if model.fingerprint != self.fingerprint:
            raise WorkbenchError(
                f"the worker's model has fingerprint {model.fingerprint}, expected "
                f"{self.fingerprint}"
            )
        store = SaeStore(model)
        for parcel in self.saes:
            (sae,) = store.attach(
                parcel.module,
                name=parcel.name,
                site=parcel.site,
                out_site=parcel.out_site,
                dtype=parcel.dtype,
                check_model=False,
            )
            sae.centred = parcel.centred
        return Scanner(model, list(store.values()), self.settings, self.batch_tokens)


def _pack(
    session: Session, saes: Sequence[Sae], settings: IndexSettings, batch_tokens: int
) -> _Parcel:
    model = session.model
    network = model.network.plain
    if not hasattr(network, "config") or not hasattr(network, "save_pretrained"):
        raise InputError(
            f"engine='ray' sends a Hugging Face model, this session has a {type(network).__name__};"
            " open the model by name or from a directory, or use engine='local'"
        )
    parcels = []
    for sae in saes:
        with sae.loaded() as module:
            parcels.append(
                _SaeParcel(
                    name=sae.name,
                    module=_on_cpu(module),
                    site=site_of(sae).name,
                    out_site=sae.out_site.name if sae.is_transcoder and sae.out_site else None,
                    centred=sae.centred,
                    dtype=sae.dtype,
                )
            )
    return _Parcel(
        network=_on_cpu(network),
        tokenizer=model.tokenizer,
        name=model.name,
        policy=model.policy,
        fingerprint=model.fingerprint,
        device=model.device.type,
        saes=tuple(parcels),
        settings=settings,
        batch_tokens=batch_tokens,
        threads=torch.get_num_threads(),
    )


def _on_cpu(module: Any) -> Any:
    """Return the module, or a copy of it in main memory."""
    if all(tensor.device.type == "cpu" for tensor in module.state_dict().values()):
        return module
    return copy.deepcopy(module).cpu()


_unpacked: dict[str, Scanner] = {}


def scan_block(key: str, parcel: _Parcel, block: RowBlock) -> PartSketch:
    """Scan one block in a worker, which keeps the model for the next."""
    if key not in _unpacked:
        _unpacked.clear()
        _unpacked[key] = parcel.unpack()
    return _unpacked[key].scan(block).cpu()


class RayEngine:
    """Sketches blocks on Ray workers.

    Uses the cluster that is connected (``ray.init(...)``, or the address in ``RAY_ADDRESS``);
    otherwise starts workers on this machine and stops them at the end.

    Parameters
    ----------
    session
        Model and SAEs.
    saes
        The SAEs to index.
    settings
        What is kept.
    batch_tokens
        Tokens of a pass.
    workers
        Blocks scanned at once; by default as many as the cluster has accelerators (or, without
        any, processors ÷ the threads of this process).

    Raises
    ------
    InputError
        Ray is not installed, or the model cannot be sent.
    """

    def __init__(
        self,
        session: Session,
        saes: Sequence[Sae],
        settings: IndexSettings,
        batch_tokens: int,
        *,
        workers: int | None = None,
    ) -> None:
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise InputError(
                "engine='ray' needs Ray, which is not installed: "
                "pip install 'interp-workbench[ray]'"
            ) from error
        if workers is not None and workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}")
        self._parcel = _pack(session, saes, settings, batch_tokens)
        self._workers = workers

    def sketches(
        self,
        blocks: Iterator[RowBlock],
        *,
        passed: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> Iterator[tuple[RowBlock, PartSketch]]:
        """Sketch blocks as workers finish them.

        Raises
        ------
        WorkbenchError
            Workers died again and again.
        Stopped
            `stop` said so.
        """
        ray = self._ray
        ours = not ray.is_initialized()
        if ours:
            self._connect()
        try:
            yield from self._spread(blocks, passed, stop)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self) -> None:
        if "RAY_ADDRESS" in os.environ:
            self._ray.init(log_to_driver=False)
            return
        self._ray.init(
            num_cpus=self._workers or self._processors(),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )

    def _processors(self) -> int:
        return max((os.cpu_count() or 1) // self._parcel.threads, 1)

    def _spread(
        self,
        blocks: Iterator[RowBlock],
        passed: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> Iterator[tuple[RowBlock, PartSketch]]:
        ray = self._ray
        gpus = 0 if self._parcel.device == "cpu" else 1
        key = f"{os.getpid()}-{id(self)}"
        parcel = ray.put(self._parcel)
        remote = ray.remote(scan_block).options(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)
        available = ray.cluster_resources()
        most = self._workers or int(available.get("GPU" if gpus else "CPU", 1)) or 1
        running: dict[Any, RowBlock] = {}
        source = iter(blocks)
        exhausted = False
        try:
            while running or not exhausted:
                while not exhausted and len(running) < most * _AHEAD:
                    block = next(source, None)
                    if block is None:
                        exhausted = True
                    else:
                        running[remote.remote(key, parcel, block)] = block
                if stop():
                    raise Stopped
                ready, _ = ray.wait(list(running), timeout=_WAIT_SECONDS) if running else ([], [])
                for reference in ready:
                    block = running.pop(reference)
                    sketch = self._result(reference)
                    passed(len(block.ids))
                    yield block, sketch
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _result(self, reference: Any) -> PartSketch:
        ray = self._ray
        try:
            sketch: PartSketch = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except ray.exceptions.RayError as error:
            raise WorkbenchError(
                f"a part was lost {_RETRIES + 1} times ({type(error).__name__}: {error}); the "
                "parts done are safe: look at the workers' memory, and begin again to go on"
            ) from error
        return sketch
