"""The index on a real local Ray: the same bytes, also when a worker is killed."""

from __future__ import annotations

import signal

import index_fixtures as fixtures
import psutil
import pytest
import torch

from workbench.errors import InputError
from workbench.features.index import index as build
from workbench.features.index.ray_engine import RayEngine

ray = pytest.importorskip("ray", reason="Ray is not installed (the optional extra 'ray')")
pytestmark = pytest.mark.slow
TEXTS = fixtures.texts()
WORKERS = 2


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with fixtures.session(fixtures.write(tmp_path_factory.mktemp("ray"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def local(session, tmp_path_factory):
    """Content of the index this process builds by itself."""
    target = tmp_path_factory.mktemp("local") / "index"
    build(session, TEXTS, target, **fixtures.OPTIONS)
    return fixtures.content(target)


@pytest.fixture(scope="module")
def cluster():
    """A local Ray with two workers, stopped at the end."""
    ray.init(
        num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False
    )
    yield
    ray.shutdown()


def scanning() -> list[psutil.Process]:
    """Worker processes of this test's own cluster that are scanning a block."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("scan_block" in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_workers_give_the_same_bytes(session, cluster, local, tmp_path):
    build(session, TEXTS, tmp_path / "x", engine="ray", workers=WORKERS, **fixtures.OPTIONS)
    assert fixtures.content(tmp_path / "x") == local


def test_a_killed_workers_part_is_done_by_another(session, cluster, local, tmp_path):
    killed = []

    def kill(progress):
        # After the second part: some worker is at its next one, and never comes back from it.
        if progress.state == "running" and progress.tokens > 700 and not killed:
            for process in scanning()[:1]:
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)

    options = {**fixtures.OPTIONS, "progress": kill}
    build(session, TEXTS, tmp_path / "x", engine="ray", workers=WORKERS, **options)
    assert len(killed) == 1
    assert fixtures.content(tmp_path / "x") == local


def test_an_error_in_a_worker_is_the_callers(session, cluster, tmp_path, monkeypatch):
    build(session, TEXTS[:20], tmp_path / "x", engine="ray", tokens=50, **fixtures.OPTIONS)
    engine = RayEngine(session, list(session.saes.values()), fixtures.SETTINGS, 256)
    object.__setattr__(engine._parcel, "fingerprint", "other")
    with pytest.raises(Exception, match="expected other"):
        list(engine.sketches(iter([block(session)]), passed=lambda n: None, stop=lambda: False))


def block(session):
    from workbench.features.index.corpus import as_corpus
    from workbench.features.index.rows import RowPlan, row_blocks

    plan = RowPlan(context=24, packing=False, long="split", block_tokens=100)
    return next(row_blocks(session.model, as_corpus(TEXTS), plan, session.policy))


def test_a_build_begun_locally_goes_on_with_ray(session, cluster, local, tmp_path):
    target = tmp_path / "x"

    class StopHereError(Exception):
        pass

    def stop(progress):
        if progress.tokens > 1000:
            raise StopHereError

    with pytest.raises(StopHereError):
        build(session, TEXTS, target, **{**fixtures.OPTIONS, "progress": stop})
    build(session, TEXTS, target, engine="ray", workers=WORKERS, **fixtures.OPTIONS)
    assert fixtures.content(target) == local


def test_bad_engines_are_refused(session, tmp_path):
    with pytest.raises(InputError, match="'local' or 'ray'"):
        build(session, TEXTS, tmp_path / "x", engine="dask", **fixtures.OPTIONS)
    with pytest.raises(InputError, match="workers"):
        RayEngine(session, [], fixtures.SETTINGS, 64, workers=0)


def test_sketches_travel_whole(session):
    engine = RayEngine(session, list(session.saes.values()), fixtures.SETTINGS, 256)
    scanner = engine._parcel.unpack()
    assert [sae.name for sae in scanner.saes] == list(session.saes)
    assert scanner.model.fingerprint == session.model.fingerprint
    for sae in scanner.saes:
        own = session.saes[sae.name]
        x = torch.randn(6, own.d_in, generator=torch.Generator().manual_seed(0))
        assert torch.equal(sae.encode_dense(x), own.encode_dense(x))
