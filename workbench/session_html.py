"""What a session shows of itself in a notebook."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["session_html"]


def session_html(session: Session) -> str:
    """Say what a session holds, as escaped HTML: model, memory, sites, SAEs."""
    if session.closed:
        return "<p>Session (closed)</p>"
    model, saes = session.model, session.saes
    policy = ("BOS once" if model.policy.bos else "no BOS") + (
        ", chat template" if model.policy.chat else ""
    )
    kinds = ", ".join(dict.fromkeys(model.sites[name].kind for name in model.sites))
    facts = {
        "model": f"{model.name} · {model.n_params / 1e6:,.1f} M parameters · "
        f"{model.n_layers} layers · d_model {model.d_model} · {model.d_vocab:,} tokens",
        "runs": f"{str(model.dtype).removeprefix('torch.')} on {model.device} · "
        f"context {model.n_ctx:,} tokens · {policy}",
        "memory": f"model {model.nbytes / 2**20:,.0f} MiB · SAEs "
        f"{saes.nbytes / 2**20:,.0f} MiB ({len(saes.resident)} of {len(saes)} resident)",
        "sites": f"{len(model.sites)}: {kinds}",
        "weights": f"fingerprint {model.fingerprint}",
    }
    head = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in facts.items()
    )
    if not len(saes):
        hint = "<p>no SAEs attached; <code>session.attach(...)</code> takes a registry release,"
        return f"<table>{head}</table>{hint} a directory, or an SAE</p>"
    columns = ["name", "site", "architecture", "d_sae", "l0", "mib", "resident", "source"]
    listed = saes.to_pandas()[columns]
    # A shared notebook should not tell where its author keeps files.
    listed["source"] = [_short(source) for source in listed["source"]]
    rows = listed.to_html(
        index=False, escape=True, na_rep="–", max_rows=60, float_format=lambda x: f"{x:.1f}"
    )
    opened = " open" if len(saes) <= 4 else ""
    summary = f"<summary>{len(saes)} SAEs</summary>"
    return f"<table>{head}</table><details{opened}>{summary}{rows}</details>"


def _short(source: str) -> str:
    path = Path(source)
    return "/".join(path.parts[-2:]) if path.is_absolute() else source
