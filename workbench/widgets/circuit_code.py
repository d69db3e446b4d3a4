"""The Python that gives a circuit again: what "Copy as code" starts with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.circuits.graph import Circuit

__all__ = ["reproduction"]

# More examples than these are not written out: the code stays something to read.
_MOST_EXAMPLES = 50
_DEFAULTS = {"units": "features", "steps": 10, "endpoint": "clean", "filter": "mean"}


def reproduction(circuit: Circuit) -> list[str]:
    """Return lines that leave the circuit in ``circuit``.

    Parameters
    ----------
    circuit
        With examples: the lines open the model and discover it again. A graph of another tool says
        how it is opened itself. Anything else is loaded from where it was saved.
    """
    said = getattr(circuit, "recipe", None)
    if said:
        return list(said)
    if not circuit.prompts or hasattr(circuit, "sides"):
        return ["import workbench as wb", 'circuit = wb.load("circuit.wb")  # circuit.save(...)']
    settings: dict[str, Any] = {
        "metric": circuit.metric,
        "method": circuit.method,
        "aggregate": circuit.aggregate,
        "baseline": circuit.baseline,
        "node_threshold": circuit.node_threshold,
        "edge_threshold": circuit.edge_threshold,
    }
    for name, usual in _DEFAULTS.items():
        if circuit.settings.get(name, usual) != usual:
            settings[name] = circuit.settings[name]
    if circuit.settings.get("sites"):
        settings["sites"] = list(circuit.settings["sites"])
    options = [f"    {name}={value!r}," for name, value in settings.items()]
    return [
        *_session(circuit),
        *_examples(circuit),
        "circuit = s.circuit(",
        "    pairs,",
        *options,
        ")",
    ]


def _session(circuit: Circuit) -> Iterator[str]:
    session, model = circuit.session, circuit.provenance.model
    yield "import workbench as wb"
    yield f"s = wb.open({model!r})"
    if model == "demo" or session is None or session.closed:
        return
    for name in circuit.provenance.saes:
        if name in session.saes:
            identifier = str(session.saes[name].source.identifier)
            release, _, sae_id = identifier.partition("/")
            if Path(identifier).exists():
                yield f"s.attach({identifier!r}, name={name!r})"
            else:
                yield f"s.attach({release!r}, sae_id={sae_id!r}, name={name!r})"


def _examples(circuit: Circuit) -> Iterator[str]:
    if len(circuit.prompts) > _MOST_EXAMPLES:
        yield f"pairs = ...  # the {len(circuit.prompts):,} examples of circuit.prompts"
        return
    yield "pairs = ["
    for prompt in circuit.prompts:
        said = {key: value for key, value in prompt.items() if value not in (None, "")}
        yield f"    {said!r},"
    yield "]"
