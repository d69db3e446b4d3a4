"""The Python that gives a reading again: what "Copy as code" starts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.features.reading import Reading

__all__ = ["reproduction"]

_BUNDLED = Path(__file__).resolve().parents[1] / "demo" / "assets"


def reproduction(reading: Reading) -> dict[str, Any]:
    """Return the lines that open the session, and the options of the call that reads the text.

    Parameters
    ----------
    reading
        Bound to a session, its SAEs are attached from where they came from; a reading from a file
        knows only the names it was made with.

    Returns
    -------
    dict
        ``setup``, lines that leave the session in ``s``; ``conversation``, the messages read, as
        Python, None where a plain text was; ``options``, what follows it in ``s.read(text...)``.
    """
    source = reading.provenance
    session = reading.session
    opened = source.model if session is None or session.closed else _opened(session)
    lines = ["import workbench as wb", f"s = wb.open({opened!r})"]
    options = ""
    names = [sae.sae for sae in reading.saes]
    if session is not None and not session.closed:
        bundled = source.model == "demo"
        foreign = [name for name in names if not (bundled and _is_bundled(session.saes[name]))]
        lines += [_attach(name, session.saes[name].source.identifier) for name in foreign]
        if bundled and names != list(session.saes):
            options += f", saes={names!r}"
        options += _policy(source.token_policy, session.policy.to_dict())
    elif source.token_policy.get("chat"):
        options += ", policy=wb.TokenPolicy(chat=True)"
    spoken = None if reading.messages is None else repr([dict(said) for said in reading.messages])
    return {"setup": lines, "conversation": spoken, "options": options}


def _opened(session: Any) -> str:
    """Return what the model was opened as: the demo, its directory, or its hub name."""
    name = str(session.model.name)
    source = str(getattr(session.model.network.plain.config, "_name_or_path", "") or "")
    return name if name == "demo" or not source else source


def _is_bundled(sae: Any) -> bool:
    return Path(sae.source.identifier).is_relative_to(_BUNDLED)


def _attach(name: str, identifier: str) -> str:
    if Path(identifier).exists():
        return f"s.attach({identifier!r}, name={name!r})"
    release, _, sae_id = identifier.partition("/")
    return f"s.attach({release!r}, sae_id={sae_id!r}, name={name!r})"


def _policy(used: Any, default: dict[str, Any]) -> str:
    """Write out what differs from the session's own policy."""
    differs = {key: value for key, value in used.items() if value != default.get(key)}
    if not differs:
        return ""
    fields = ", ".join(f"{key}={value!r}" for key, value in differs.items())
    return f", policy=wb.TokenPolicy({fields})"
