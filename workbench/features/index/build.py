"""Building an index: part by part, to be stopped, killed, resumed and looked at meanwhile."""

from __future__ import annotations

import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import InputError, WorkbenchError
from workbench.features.index import disk, manifest
from workbench.features.index.assemble import PREVIEW, preview, write_index
from workbench.features.index.parts import PartStore
from workbench.features.index.progress import Meter, Progress
from workbench.features.index.rows import RowBlock, RowPlan, row_blocks
from workbench.features.index.scan import PartSketch, Scanner, Stopped
from workbench.features.index.settings import IndexSettings

if TYPE_CHECKING:
    from workbench.features.index.corpus import Corpus
    from workbench.features.index.queries import FeatureIndex
    from workbench.model.model import Model
    from workbench.model.tokens import TokenPolicy
    from workbench.saes.sae import Sae
    from workbench.session import Session

__all__ = ["Engine", "IndexBuild", "LocalEngine"]


class Engine(Protocol):
    """What sketches blocks: this process, or many."""

    def sketches(
        self,
        blocks: Iterator[RowBlock],
        *,
        passed: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> Iterator[tuple[RowBlock, PartSketch]]:
        """Sketch blocks, in any order.

        Raises
        ------
        Stopped
            `stop` said so.
        """
        ...


class LocalEngine:
    """Sketches in this process, one block after another.

    Parameters
    ----------
    scanner
        Runs the model.
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def sketches(
        self,
        blocks: Iterator[RowBlock],
        *,
        passed: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> Iterator[tuple[RowBlock, PartSketch]]:
        """Sketch blocks in order; the next is read and tokenised meanwhile."""
        with ThreadPoolExecutor(1, thread_name_prefix="index-reader") as reader:
            coming = reader.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = reader.submit(next, blocks, None)
                yield block, self._scanner.scan(block, progress=passed, stop=stop)


class IndexBuild:
    """A feature index in the making.

    Made by ``session.index(..., background=True)``; runs in a thread of its own. Killed at any
    moment, it goes on where it stopped when it is begun again with the same arguments.

    Parameters
    ----------
    session
        Model and SAEs.
    corpus
        The documents.
    path
        Folder of the index.
    saes
        The SAEs to index.
    policy, rows, settings, limit
        What the index is of.
    engine
        Makes the engine, given the tokens of a pass.
    batch_tokens
        Finds the tokens of a pass; asked once, when the build begins.
    show
        See `Meter`.
    """

    def __init__(
        self,
        session: Session,
        corpus: Corpus,
        path: Path,
        *,
        saes: Sequence[Sae],
        policy: TokenPolicy,
        rows: RowPlan,
        settings: IndexSettings,
        limit: int | None,
        engine: Callable[[int], Engine],
        batch_tokens: Callable[[], int],
        show: bool | Callable[[Progress], None],
    ) -> None:
        self.path = path
        self.session = session
        self._model: Model = session.model
        self._corpus, self._saes, self._policy = corpus, tuple(saes), policy
        self._rows, self._settings, self._limit = rows, settings, limit
        self._engine, self._batch_tokens = engine, batch_tokens
        self._description = manifest.describe(
            self._model, self._saes, policy, rows, settings, limit
        )
        self._store = PartStore(
            path / "parts",
            [sae.name for sae in saes],
            [sae.d_sae for sae in saes],
            settings,
            self._model.device,
        )
        self._meter = Meter(corpus.size, limit, show)
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    # -- control ------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._meter.now()

    @property
    def done(self) -> bool:
        """Whether it has ended: finished, stopped or failed."""
        return self._over.is_set()

    def start(self) -> IndexBuild:
        """Begin in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._in_background, name="index", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop and wait; the part in progress is lost, begin again to go on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, timeout: float | None = None) -> FeatureIndex:
        """Wait for the end and open the index.

        Parameters
        ----------
        timeout
            Most seconds to wait.

        Raises
        ------
        WorkbenchError
            It was stopped, or is not done in time.
        Exception
            What made it fail.
        """
        if not self._over.wait(timeout):
            raise WorkbenchError(f"the build is not done: {self.progress}")
        if self._error is not None:
            raise self._error
        if self._stop.is_set() and not (self.path / manifest.MANIFEST).exists():
            raise WorkbenchError(
                f"the build was stopped ({self.progress}); call session.index(...) again to go on,"
                " or use build.index() for what is there"
            )
        return self._open(self.path)

    def index(self) -> FeatureIndex:
        """Open what is there now: the finished index, or one of the parts done so far.

        Raises
        ------
        WorkbenchError
            No part is done yet.
        """
        if (self.path / manifest.MANIFEST).exists():
            return self._open(self.path)
        with self._writing:
            return self._open(preview(self.path, self._store, self._description))

    def __repr__(self) -> str:
        return f"IndexBuild({self.path.name!r}, {self.progress})"

    def _open(self, path: Path) -> FeatureIndex:
        from workbench.features.index.queries import FeatureIndex

        return FeatureIndex(path, session=self.session)

    def _in_background(self) -> None:
        try:
            self.run()
        except Stopped:
            pass  # asked for: the state says so
        except BaseException as error:  # noqa: BLE001 - given to whoever waits
            self._error = error

    # -- work ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Build to the end in this thread.

        Raises
        ------
        InputError
            The folder holds something else, or the corpus has no text.
        WorkbenchError
            Another build is at work there, or the disk is full.
        Stopped
            `stop` was called.
        """
        began = time.time()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with disk.held(self.path):
                self._prepare()
                if not (self.path / manifest.MANIFEST).exists():
                    self._scan()
                    self._finish(began)
                self._clean()
            self._meter.to("done")
        except Stopped:
            self._meter.to("stopped")
            raise
        except OSError as error:
            self._meter.to("failed")
            raise WorkbenchError(
                f"the index could not be written ({error}); the parts done are safe in "
                f"{str(self.path)!r}: make room and call session.index(...) again to go on"
            ) from error
        except BaseException as error:
            self._meter.to("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        finally:
            self._over.set()

    def _prepare(self) -> None:
        """Find out what is in the folder, and take a finished or unfinished index of the same."""
        for name in (manifest.MANIFEST, manifest.BUILD):
            if (self.path / name).exists():
                stored = manifest.read(self.path / name)
                self._check_same(stored)
                if name == manifest.BUILD:
                    self._description["batch_tokens"] = stored["batch_tokens"]
                    self._rows = RowPlan(**stored["rows"])
                    self._description["rows"] = stored["rows"]
                return
        others = sorted(
            child.name
            for child in self.path.iterdir()
            if child.name != "parts" and not child.name.endswith(disk.TEMPORARY)
        )
        if others:
            raise InputError(
                f"{str(self.path)!r} holds {others[:5]} and no index; give an empty or a new folder"
            )
        # Found once and kept: a pass of another size may differ in the last bit.
        self._description["batch_tokens"] = self._batch_tokens()
        self._description["corpus"] = {
            "name": self._corpus.name,
            "documents": self._corpus.size,
            "head": self._corpus.head(),
        }
        self._store.folder.mkdir(exist_ok=True)
        disk.write_json(self.path / manifest.BUILD, self._description)

    def _check_same(self, stored: Mapping[str, Any]) -> None:
        found = manifest.differences(stored, self._description)
        head = self._corpus.head()
        theirs, ours = stored["corpus"].get("documents"), self._corpus.size
        if stored["corpus"]["head"] != head:
            found.append(f"it is of another corpus ({stored['corpus']['name']!r})")
        elif None not in (theirs, ours) and theirs != ours:
            found.append(f"its corpus has {theirs:,} documents, not {ours:,}")
        if found:
            raise InputError(
                f"the index in {str(self.path)!r} is not the one asked for: {'; '.join(found)}. "
                "Give another path, or call with the same arguments"
            )
        names = ("name", "documents", "head")
        self._description["corpus"] = {name: stored["corpus"][name] for name in names}

    def _scan(self) -> None:
        last, complaints = self._store.recover()
        for complaint in complaints:
            warnings.warn(f"damaged, will be made again: {complaint}", stacklevel=4)
        done = self._store.done()
        engine = self._engine(self._description["batch_tokens"])
        tokens = documents = 0
        for number in range(last.number + 1 if last else 0):
            if number in done:
                block = self._store.read_rows(number)
                tokens, documents = tokens + len(block.ids), documents + len(block.metadata)
        self._meter.start(tokens, documents)
        blocks = self._blocks(last, done)
        pending: Future[None] | None = None
        # One part is written, and its neighbours merged, while the next is computed.
        with ThreadPoolExecutor(1, thread_name_prefix="index-writer") as writer:
            sketched = engine.sketches(blocks, passed=self._meter.passed, stop=self._stop.is_set)
            for block, sketch in sketched:
                if pending is not None:
                    pending.result()
                pending = writer.submit(self._write, block.number, sketch)
            if pending is not None:
                pending.result()

    def _blocks(self, last: RowBlock | None, done: set[int]) -> Iterator[RowBlock]:
        for number in range(last.number + 1 if last else 0):
            if number not in done:
                yield self._store.read_rows(number)
        made = row_blocks(
            self._model, self._corpus, self._rows, self._policy, after=last, limit=self._limit
        )
        if last is not None and self._limit is not None and last.next_token >= self._limit:
            return
        for block in made:
            if self._stop.is_set():
                raise Stopped
            self._meter.block(block.next_token, block.next_document)
            self._store.write_rows(block)
            yield block

    def _write(self, number: int, sketch: PartSketch) -> None:
        with self._writing:
            self._store.write(number, sketch)

    def _finish(self, began: float) -> None:
        self._meter.to("finishing")
        parts = self._store.parts()
        if not parts:
            raise InputError("the corpus has no documents: there is nothing to index")
        description = write_index(
            self.path, self._store, parts, self._description, stop=self._stop.is_set
        )
        if not description["counts"]["counted"]:
            raise InputError("the corpus has no text: every token is special")
        speed = self.progress.tokens_per_second
        log = {
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.time() - began, 3),
            "tokens_per_second": round(speed, 1),
        }
        disk.write_json(self.path / "log.json", log)
        disk.write_json(self.path / manifest.MANIFEST, description)

    def _clean(self) -> None:
        """Take away what only the build needed."""
        (self.path / manifest.BUILD).unlink(missing_ok=True)
        for leftover in [self.path / "parts", *self.path.glob(f"{PREVIEW}-*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in self.path.rglob(f"*{disk.TEMPORARY}"):
            disk.remove(leftover)
