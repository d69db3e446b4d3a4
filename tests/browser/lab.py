"""A real JupyterLab server and one page of it, driven from a test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000  # milliseconds to wait for a condition on a loaded machine


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """JupyterLab on a folder, with settings of its own and no news from the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.log = folder / "server.log"
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        self.environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "OMP_NUM_THREADS": "2",
        }
        self._out = self.log.open("wb")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--expose-app-in-browser",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={self.port}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={self.notebooks}",
                f"--IdentityProvider.token={self.token}",
                f"--LabApp.user_settings_dir={folder / 'settings'}",
                f"--LabApp.workspaces_dir={folder / 'workspaces'}",
            ],
            cwd=self.notebooks,
            env=self.environment,
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> None:
        """Until the server answers; its log is the error where it never does."""
        url = f"http://127.0.0.1:{self.port}/api/status?token={self.token}"
        probe = urllib.request.Request(url)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended:\n{self.log.read_text()[-3000:]}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(probe, timeout=5).close()
                return

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()

    def write(self, name: str, cells: list[str]) -> str:
        """Write a notebook of code cells; returns its name."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in [*cells, ""]],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, self.notebooks / name)
        return name

    def execute(self, name: str) -> None:
        """Execute a notebook without a page, keeping its widgets' state, as nbconvert does."""
        self._tool("nbconvert", "--to=notebook", "--execute", "--inplace", name)

    def trust(self, name: str) -> None:
        """Trust a notebook's outputs, as its reader can."""
        self._tool("jupyter", "trust", name)

    def _tool(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.notebooks,
            env=self.environment,
            check=True,
            capture_output=True,
        )


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server for the duration of a block."""
    server = Server(folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


class Notebook:
    """One notebook open in one page."""

    def __init__(self, server: Server, page: Any, name: str) -> None:
        self.server, self.page = server, page
        page.set_default_timeout(PATIENCE)
        page.goto(
            f"http://127.0.0.1:{server.port}/lab/workspaces/{secrets.token_hex(4)}"
            f"/tree/{name}?token={server.token}"
        )
        # The kernel is chosen by the notebook's own kernelspec; cells run when it is connected.
        page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
            "?.connectionStatus === 'connected'",
            timeout=PATIENCE,
        )
        page.evaluate("() => jupyterapp.shell.collapseLeft()")

    def theme(self, name: str) -> None:
        """Switch the whole page, as a person does in the settings."""
        self.page.evaluate(
            "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        wanted = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{wanted}']", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def run_all(self) -> None:
        """Run every cell and wait for the last."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")

    def run_cell(self, index: int) -> list[dict[str, Any]]:
        """Run one cell in the page and return its outputs; raises what the cell raised."""
        outputs = self.page.evaluate(
            """async index => {
              const notebook = jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index;
              await jupyterapp.commands.execute('notebook:run-cell');
              return notebook.widgets[index].model.outputs.toJSON();
            }""",
            index,
        )
        for output in outputs:
            if output["output_type"] == "error":
                raise AssertionError(f"{output['ename']}: {output['evalue']}")
        return outputs

    def fill(self, index: int, source: str) -> int:
        """Set a cell's source, -1 for the last; returns its index."""
        return self.page.evaluate(
            """([index, source]) => {
              const cells = jupyterapp.shell.currentWidget.content.widgets;
              const at = index < 0 ? cells.length + index : index;
              cells[at].model.sharedModel.setSource(source);
              return at;
            }""",
            [index, source],
        )

    def clear(self) -> None:
        """Take every output off the page."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")

    def start(self, source: str) -> None:
        """Run source in the last cell without waiting for its end."""
        self.page.evaluate(
            """index => {
              jupyterapp.shell.currentWidget.content.activeCellIndex = index;
              jupyterapp.commands.execute('notebook:run-cell');
            }""",
            self.fill(-1, source),
        )

    def run(self, source: str) -> str:
        """Run source in the last cell; returns what it printed, raises what it raised."""
        printed = []
        for output in self.run_cell(self.fill(-1, source)):
            text = output.get("text", "")
            printed.append(text if isinstance(text, str) else "".join(text))
        return "".join(printed).strip()

    def wait_in_kernel(self, expression: str) -> None:
        """Until a Python expression is true; each look is a cell run, so changes get their turn."""
        for _ in range(200):
            if self.run(f"print(bool({expression}))") == "True":
                return
        raise AssertionError(f"never true in the kernel: {expression}")

    def restart(self) -> None:
        """Restart the kernel, as the menu does after its question."""
        self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
        )
