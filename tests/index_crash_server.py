"""Builds indexes in children of this process, so that tests can kill them.

    python tests/index_crash_server.py FOLDER

Opens the session of `index_fixtures` in FOLDER, then reads commands from standard input: a JSON
object with ``path`` and ``fatal`` (kill the child with SIGKILL at its that many-th step, 0 for
never). Answers with the child's process id when it begins, and with its exit status at its end.
A step is a write reaching the disk, a file or folder taking its name, or a pass of the model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path


def main() -> None:
    import torch

    torch.set_num_threads(1)  # a child of fork has no thread pool of its own
    import index_fixtures

    from workbench.features.index import index

    session = index_fixtures.session(Path(sys.argv[1]))
    texts = index_fixtures.texts()
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            print(os.waitpid(pid, 0)[1], flush=True)
            continue
        try:
            count_steps(int(command["fatal"]))
            index(session, texts, command["path"], **index_fixtures.OPTIONS)
        except BaseException:  # noqa: BLE001 - told by the exit status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


def count_steps(fatal: int) -> None:
    """Kill this process at a step."""
    from workbench.features.index.scan import Scanner

    taken = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal taken
            taken += 1
            if taken == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)
    Path.rename = counted(Path.rename)
    Scanner._codes = counted(Scanner._codes)


if __name__ == "__main__":
    main()
