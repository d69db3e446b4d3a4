"""Seconds of `import workbench` and of `wb.open("demo")`, each in fresh processes.

    python benchmarks/import_and_open.py [--repeats 7] [--json]

Each row runs its statement in that many new interpreters, in turn with the other rows so that
drifts of the machine's speed hit all alike; the figure is the median with its quartiles. The
floors stand beside them: an interpreter that does nothing, and the imports of the libraries
that opening a model cannot do without. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

BARS = {"import workbench": 0.5, "open demo, imports included": 10.0}
STATEMENTS = {
    "nothing (floor of every row)": "pass",
    "import workbench": "import workbench",
    "import torch, transformers, transformer_lens, sae_lens (floor of opening)": (
        "import torch, transformers, transformer_lens, sae_lens"
    ),
    "open demo, imports included": "import workbench as wb; session = wb.open('demo')",
    "open demo and read a sentence": (
        "import workbench as wb; session = wb.open('demo'); "
        "session.read('The striker Elena Marsh plays for')"
    ),
}
# The clock starts before the interpreter has read any file of the statement.
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """Seconds a statement takes in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{statement!r} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def main() -> int:
    """Command line entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Times of import and open.")
    parser.add_argument(
        "--repeats", type=int, default=7, help="fresh processes per row (2 or more)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error(f"--repeats: got {options.repeats}, expected 2 or more")
    for statement in STATEMENTS.values():
        seconds(statement)  # once for the disk cache and the compiled files
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(options.repeats):
        for name, statement in STATEMENTS.items():
            taken[name].append(seconds(statement))
    rows = []
    for name, values in taken.items():
        low, middle, high = statistics.quantiles(values, n=4)
        bar = BARS.get(name)
        reached = None if bar is None else middle <= bar
        rows.append(
            {
                "name": name,
                "value": middle,
                "quartiles": [low, high],
                "bar": bar,
                "reached": reached,
            }
        )
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            low, high = row["quartiles"]
            verdict = ""
            if row["bar"] is not None:
                word = "reached" if row["reached"] else "NOT REACHED"
                verdict = f"bar {row['bar']:g} s: {word}"
            print(f"{row['value']:8.3f} s  [{low:.3f}, {high:.3f}]  {row['name']}  {verdict}")
    return 1 if any(row["reached"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
