"""The executed examples: whole, without errors, and fit to be handed on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.ipynb"))
MOST_BYTES = 6 * 2**20
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


@pytest.fixture(params=EXAMPLES, ids=[path.stem for path in EXAMPLES])
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


def test_every_cell_has_run_without_errors(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run from top to bottom"
    kinds = {output["output_type"] for output in outputs(notebook)}
    assert "execute_result" in kinds or "display_data" in kinds
    assert "error" not in kinds
    assert not [one for one in outputs(notebook) if one.get("name") == "stderr"]


def test_it_can_be_handed_on(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    assert not re.search(r"(?:^|[\s\"'(=])/(?:home|root|Users|tmp|work|var)/", text)
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"


def test_views_are_kept_and_have_a_stand_in(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kept = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for output in outputs(notebook):
        data = output.get("data", {})
        if VIEW in data:
            assert data[VIEW]["model_id"] in kept, "shown without a kernel from what is saved"
            assert "".join(data["text/html"]).strip(), "shown where no script runs"


def test_views_need_no_network(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kept = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for model in kept.values():
        script = model["state"].get("_esm", "")
        assert not re.search(r"(?:import|from|fetch)\s*\(?\s*[\"'`]https?://", script)
