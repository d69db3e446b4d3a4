"""What the README says exists, exists, and its example runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    missing = [t for t in targets if not t.startswith("http") and not (ROOT / t).exists()]
    assert not missing


@pytest.mark.parametrize("node", sorted(set(re.findall(r"`(tests/[^`]+)`", README))))
def test_the_table_names_tests_that_exist(node: str) -> None:
    path, _, name = node.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [part.name for part in tree.body if isinstance(part, ast.FunctionDef)]
    assert any(function.startswith("test_") for function in functions)
    assert not name or name in functions


def test_the_commands_are_targets() -> None:
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = re.findall(r"\bmake ([a-z]+)\b", README)
    assert {"lab", "test"} <= set(named)
    assert set(named) <= set(targets)


@pytest.mark.slow
def test_the_example_runs() -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    names: dict[str, object] = {}
    *statements, last = ast.parse(example.group(1)).body
    exec(compile(ast.Module(statements, []), "README.md", "exec"), names)
    assert isinstance(last, ast.Expr)
    found = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    assert len(found) == 5
    names["session"].close()
