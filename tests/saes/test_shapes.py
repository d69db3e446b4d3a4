"""The shapes written in annotations hold: the tests of codes and splices run with them checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ("acts", "decode", "encode", "per_feature", "splice")
CHOSEN = "(equals_saelens_bit and none) or (finite_differences and temporal) or several_sites"


@pytest.mark.slow
def test_annotated_shapes_hold_while_encoding_and_splicing(root):
    checked = ",".join(f"workbench.saes.{name}" for name in MODULES)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            f"--jaxtyping-packages={checked},beartype.beartype",
            # Calls that are wrong on purpose are stopped by the checker before our own message.
            *("-k", CHOSEN),
            *("tests/saes/test_codes.py", "tests/saes/test_splice.py"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert " passed" in ran.stdout
