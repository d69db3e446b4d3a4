"""A build killed with SIGKILL at random points ends in the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import index_fixtures as fixtures
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]
TESTS = Path(__file__).resolve().parent.parent


class Builder:
    """Speaks to `index_crash_server`."""

    def __init__(self, folder: Path) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        }
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "index_crash_server.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.process.stdout.readline().strip() == "ready"

    def begin(self, path: Path, fatal: int = 0) -> int:
        self.process.stdin.write(json.dumps({"path": str(path), "fatal": fatal}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """How the child ended: 0, or minus the signal."""
        status = int(self.process.stdout.readline())
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = Builder(fixtures.write(tmp_path_factory.mktemp("crash")))
    yield made
    made.process.stdin.close()
    made.process.wait(30)


@pytest.fixture(scope="module")
def whole(builder, tmp_path_factory):
    """Content of an index that nobody disturbed, and the seconds it took."""
    target = tmp_path_factory.mktemp("whole") / "index"
    builder.begin(target.parent / "warm")
    assert builder.end() == 0
    began = time.perf_counter()
    builder.begin(target)
    assert builder.end() == 0
    return fixtures.content(target), time.perf_counter() - began


def test_killed_at_twenty_random_steps(builder, whole, tmp_path):
    rng = random.Random(0)
    killed, round_number, most = 0, 0, 150
    while killed < 20:
        target = tmp_path / str(round_number)
        round_number += 1
        status = None
        while status != 0:
            # Steps left become fewer as the build goes on; a last one is never reached.
            builder.begin(target, rng.randint(1, most))
            status = builder.end()
            assert status in (0, -signal.SIGKILL)
            killed += status != 0
        assert fixtures.content(target) == whole[0]


def test_killed_from_outside_at_random_times(builder, whole, tmp_path):
    rng = random.Random(1)
    content, seconds = whole
    killed = 0
    for number in range(4):
        target = tmp_path / str(number)
        for _ in range(3):
            child = builder.begin(target)
            time.sleep(rng.uniform(0, seconds))  # when the kill comes, not a wait for anything
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                assert builder.end() == 0
                break
            killed += builder.end() != 0
        builder.begin(target)
        assert builder.end() == 0
        assert fixtures.content(target) == content
    assert killed > 3


def test_killed_while_naming_the_manifest(builder, whole, tmp_path):
    # Every one of the last steps in turn, where the index becomes a whole one and the parts go.
    last = count_steps(builder, tmp_path / "count")
    for back in range(1, 7):
        target = tmp_path / str(back)
        builder.begin(target, last + 1 - back)
        assert builder.end() == -signal.SIGKILL
        builder.begin(target)
        assert builder.end() == 0
        assert fixtures.content(target) == whole[0]


def count_steps(builder, folder) -> int:
    """Number of steps of an undisturbed build."""
    low, high = 1, 2000  # dies at `low`, lives at `high`
    while high - low > 1:
        middle = (low + high) // 2
        builder.begin(folder / str(middle), middle)
        if builder.end() == 0:
            high = middle
        else:
            low = middle
    return low
