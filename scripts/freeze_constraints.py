"""Write constraints.txt from a fresh environment: the exact versions the project is tested with.

    python3 scripts/freeze_constraints.py [pinned==1.2.3 ...]

Requirements given on the command line are held (torch, say); everything else is resolved anew
from the ranges in pyproject.toml.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from make_environment import ROOT, environment_python, find_interpreter

HEADER = """\
# The exact versions the project was last tested with: pip install -c constraints.txt -e '.[test]'
# pyproject.toml keeps the ranges. Made by scripts/freeze_constraints.py in a fresh environment.
# torch itself fixes the versions of the CUDA libraries it brings along on Linux.
"""
# Brought along by torch at versions that it fixes itself, different on every platform.
BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton==)", re.IGNORECASE)


def constraints(frozen: str) -> str:
    """Text of constraints.txt from `pip freeze` output.

    Local version marks (`+cpu`) go, so that one file serves every build of torch.
    """
    lines = []
    for line in frozen.splitlines():
        pinned = re.fullmatch(r"([A-Za-z0-9._-]+==[^+\s]+)(\+\S+)?", line.strip())
        if pinned and not BY_TORCH.match(line):
            lines.append(pinned.group(1))
    return HEADER + "\n".join(sorted(lines, key=str.lower)) + "\n"


def main() -> int:
    """Command line entry point; returns the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        held = Path(scratch) / "held.txt"
        held.write_text("\n".join(sys.argv[1:]) + "\n", encoding="utf-8")
        folder = Path(scratch) / "venv"
        subprocess.run([find_interpreter(), "-m", "venv", str(folder)], check=True)
        python = str(environment_python(folder))
        install = [python, "-m", "pip", "install", "-q", "-c", str(held), f"{ROOT}[test]"]
        subprocess.run(install, check=True)
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
        ).stdout
    (ROOT / "constraints.txt").write_text(constraints(frozen), encoding="utf-8")
    print("wrote constraints.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
