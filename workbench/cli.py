"""The console command: ``workbench lab`` and ``workbench doctor``."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

#: The notebook that ``workbench lab`` opens, relative to the checkout.
FIRST_NOTEBOOK = Path("notebooks", "01_start_here.ipynb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console command.

    Parameters
    ----------
    arguments
        Words after the program's name; None takes them from the command line.

    Returns
    -------
    int
        Exit status: 0 when all went well, 1 when ``doctor`` found something in the way of the demo
        or JupyterLab could not start, 2 for arguments that make no sense.
    """
    parser = argparse.ArgumentParser(prog="workbench", description="Interpretability in Jupyter.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    lab = commands.add_parser("lab", help="open JupyterLab on the first notebook")
    lab.add_argument("--port", type=_port, help="port to serve on (default: first free from 8888)")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    doctor = commands.add_parser("doctor", help="say what this machine has and what is wrong")
    doctor.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    if options.command == "doctor":
        return run_doctor(as_json=options.json)
    return run_lab(port=options.port, browser=not options.no_browser)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port number from 1 to 65535")
    return port


def run_doctor(*, as_json: bool) -> int:
    """Print the diagnosis; return 1 when the demo cannot run."""
    from workbench.doctor import examine

    diagnosis = examine()
    print(diagnosis.to_json() if as_json else diagnosis)
    return 0 if diagnosis.healthy else 1


def browser_can_open() -> bool:
    """Whether a browser window can appear where this command runs."""
    if os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def lab_arguments(*, port: int | None, browser: bool, root: Path) -> list[str]:
    """Arguments of JupyterLab that show the first notebook under `root`.

    Parameters
    ----------
    port
        Port to serve on and no other; None lets Jupyter take the first free one from 8888.
    browser
        Open a browser window; otherwise Jupyter prints the address.
    root
        Folder shown in the file browser.
    """
    arguments = [
        f"--ServerApp.root_dir={root}",
        # Of the server's log only what matters: the address to open, and trouble.
        "--Application.log_level=WARN",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
    ]
    if (root / FIRST_NOTEBOOK).is_file():
        arguments.append(f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK.as_posix()}")
    if port is not None:
        arguments += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        arguments.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # containers and fresh machines; Jupyter refuses otherwise
    return arguments


def run_lab(*, port: int | None = None, browser: bool = True) -> int:
    """Run JupyterLab on the first notebook until it is stopped; return the exit status."""
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as problem:
        print(f"JupyterLab cannot be imported ({problem}): run `make setup`.", file=sys.stderr)
        return 1
    checkout = Path(__file__).resolve().parent.parent
    root = checkout if (checkout / FIRST_NOTEBOOK).is_file() else Path.cwd()
    if not (root / FIRST_NOTEBOOK).is_file():
        print("The guided notebooks are not in this installation; opening the current folder.")
        print("In a new notebook: import workbench as wb; wb.open('demo')")
    window = browser and browser_can_open()
    print("JupyterLab is starting; stop it with Ctrl+C.")
    if not window:
        print("No browser opens here: open the address below in one.", flush=True)
    # Defaults for JupyterLab in workbench/labconfig: no question about news over the first view.
    # A user's own settings come before them.
    folders = [os.environ.get("JUPYTER_CONFIG_PATH", ""), str(Path(__file__).resolve().parent)]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, folders))
    LabApp.launch_instance(lab_arguments(port=port, browser=window, root=root))
    return 0
