"""Pages that hold views: one file each, no kernel, no network, nothing executed from data."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import LoadError
from workbench.widgets.protocol import embed_json, to_page

__all__ = ["page", "snapshot", "static_file"]

FORMAT = "workbench-view"
VERSION = 1
_STATIC = Path(__file__).resolve().parent.parent / "static"

_PAGE_STYLE = """
html{background:#fff;color:#1c1f23;font:12px/1.45 system-ui,sans-serif}
@media(prefers-color-scheme:dark){html{background:#16191d;color:#e6e9ec}}
html[data-wb-theme=light]{background:#fff;color:#1c1f23}
html[data-wb-theme=dark]{background:#16191d;color:#e6e9ec}
body{max-width:1100px;margin:0 auto;padding:12px}
table{border-collapse:collapse}
.wb-static td,.wb-static th{padding:2px 8px;text-align:left}
"""


def static_file(name: str) -> Path:
    """Return a built file of ``workbench/static``.

    Raises
    ------
    LoadError
        The package came without it.
    """
    path = _STATIC / name
    if not path.is_file():
        raise LoadError(f"{name} is missing from {_STATIC}: run 'npm run build' in widgets/")
    return path


def snapshot(
    view: str,
    state: Mapping[str, Any],
    initial: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a view as JSON data.

    Parameters
    ----------
    view
        Name of the bundle that draws it.
    state
        Its synchronised state.
    initial
        Its first picture.
    records
        Requests it can answer: ``kind``, ``params``, ``data`` each.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "view": view,
        "state": to_page(state),
        "initial": to_page(initial),
        "records": to_page(list(records)),
    }


def page(title: str, views: Sequence[tuple[Mapping[str, Any], str]]) -> str:
    """Write a page of views.

    Only the built scripts run: the page's content security policy names them by hash and forbids
    every connection, so that even text that slipped into markup could neither run nor report.

    Parameters
    ----------
    title
        Title of the page.
    views
        For each view its `snapshot` and the static HTML that stands there where scripts are off.

    Returns
    -------
    str
        The page.
    """
    names = list(dict.fromkeys(str(data["view"]) for data, _ in views))
    style = _PAGE_STYLE + "".join(_read(f"{name}.css") for name in names)
    body, scripts = [], []
    for number, (data, fallback) in enumerate(views):
        body.append(f'<div id="view-{number}">{fallback}</div>')
        body.append(
            f'<script type="application/json" id="data-{number}">{embed_json(data)}</script>'
        )
    for name in names:
        mounts = "".join(
            f'wb.mount(document.getElementById("view-{number}"),'
            f'document.getElementById("data-{number}"));'
            for number, (data, _) in enumerate(views)
            if data["view"] == name
        )
        scripts.append(f"{_read(f'{name}.js')}\n{mounts}\n")
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!doctype html><html lang="en" data-wb-page><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{html.escape(title)}</title><style>{style}</style></head><body>",
            *body,
            *(f'<script type="module">{script}</script>' for script in scripts),
            "</body></html>\n",
        ]
    )


def _read(name: str) -> str:
    text = static_file(name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise LoadError(f"{name} cannot be embedded: it would end its own element")
    return text


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
