"""JupyterLab on a person's own copies of the notebooks, with the engagement already set and no network needed."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import platformdirs
from jupyter_core.paths import jupyter_config_dir

from audit_kit.core import outputs, places, processes
from audit_kit.core.errors import RequestError
from audit_kit.core.files import shown, shown_path
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import lab_server, notebooks
from audit_kit.report.progress import unused_lines
from audit_kit.views.show.page import ENGAGEMENT, one_a_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MADE = ".audit-kit.json"
FIRST_PORT = 8888
LOCALES = {"zh": "zh_CN", "en": "en"}
TRANSLATION = "@jupyterlab/translation-extension:plugin"
# What a person's environment may say to Jupyter: where things lie, and a token; nothing that opens the server.
PLACES = ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_PATH")
TOKEN = "JUPYTER_TOKEN"  # noqa: S105  the name of the variable
TERMINALS = "jupyter_server_terminals"
LONGEST_END_SECONDS = 20


def run_lab(
    engagement: Path | None,
    *,
    lang: str = "zh",
    folder: Path | None = None,
    port: int | None = None,
    browser: bool = True,
    without: Sequence[str] = (),
    terminals: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> int:
    """Open JupyterLab and return its exit code once it is closed.

    Args:
        engagement: null = the sample.
        lang: language of the notebooks' prose and of JupyterLab's menus.
        folder: where the copies are kept; null = `audit-kit` among the user's documents.
        port: null = the first free one from 8888.
        browser: open it; else only print the address.
        without: files of the engagement that are left out on the user's word.
        terminals: let JupyterLab open terminals, whose commands leave no trace in a notebook.
        say: told each line that a person should read: files that are not used, where the copies are.
    """
    opened = open_engagement(engagement or places.sample(), without=without)
    for line in unused_lines(opened.unused, lang=lang):
        say(line)
    if port is not None and not _is_free(port):
        raise RequestError(f"Port {port} is taken; name another, or none and a free one is found.")
    home = folder or Path(platformdirs.user_documents_dir()) / "audit-kit" / shown(opened.folder.name)
    place = home.resolve()
    values = {"engagement": shown_path(opened.folder), "lang": lang, "without": one_a_line(without)}
    kept = copy_notebooks(place, values)
    with outputs.scratch(prefix="audit-kit-lab-") as settings:
        write_settings(settings, lang=lang)
        command = _command(place, settings, port=port or _free_port(), browser=browser, terminals=terminals)
        say(f"{place}" + (f" ({', '.join(kept)}: yours, kept)" if kept else ""))
        environment = _environment(settings, opened.folder)
        with subprocess.Popen(command, env=environment, cwd=place) as lab:  # noqa: S603  our own Python, no shell
            return _awaited(lab)


def _awaited(lab: subprocess.Popen[bytes]) -> int:
    """Return the server's exit code; a terminal's interrupt reaches it too, and it asks for itself whether to stop."""
    processes.heed_interrupts()
    while True:
        try:
            return lab.wait()
        except KeyboardInterrupt as stop:
            if not isinstance(stop, processes.Ended) and sys.stdin and sys.stdin.isatty():
                continue
            lab.terminate()
            try:
                lab.wait(LONGEST_END_SECONDS)
            except subprocess.TimeoutExpired:
                lab.kill()
            raise


def copy_notebooks(folder: Path, values: Mapping[str, object]) -> list[str]:
    """Copy the notebooks with their parameters set; a copy that a person changed is kept, and its name returned."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / MADE
    made: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    kept = []
    for source in places.notebooks():
        copy = folder / source.name
        if copy.is_file() and made.get(copy.name) != hash_file(copy):
            kept.append(copy.name)
            continue
        notebook = nbformat.read(source, as_version=4)
        for cell in notebook.cells:
            if notebooks.PARAMETERS in cell.metadata.get("tags", ()):
                cell.source = with_values(cell.source, values)
        nbformat.write(notebook, copy)
        made[copy.name] = hash_file(copy)
    record.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return kept


def with_values(source: str, values: Mapping[str, object]) -> str:
    """Return a parameters cell with other values; types and comments stay."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            continue
        value, name = node.value, node.target.id
        if name in values and value.lineno == value.end_lineno and value.end_col_offset is not None:
            line = lines[value.lineno - 1].encode()
            parts = line[: value.col_offset], repr(values[name]).encode(), line[value.end_col_offset :]
            lines[value.lineno - 1] = b"".join(parts).decode()
    return "\n".join(lines)


def write_settings(folder: Path, *, lang: str) -> None:
    """Write what JupyterLab is told: our settings, with the menus in the language asked for."""
    text = files("audit_kit").joinpath("resources", "jupyterlab", "overrides.json").read_text(encoding="utf-8")
    settings = json.loads(text)
    settings[TRANSLATION] = {**settings.get(TRANSLATION, {}), "locale": LOCALES[lang]}
    (folder / "overrides.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _environment(settings: Path, engagement: Path) -> dict[str, str]:
    """Return what the server and its kernels are told: a person's own Jupyter and IPython settings are not read."""
    ours = processes.environment()
    kept = {name: value for name, value in ours.items() if not name.startswith("JUPYTER")}
    kept |= {name: ours[name] for name in PLACES if os.path.isabs(ours.get(name, "").split(os.pathsep)[0])}  # noqa: PTH117
    if ours.get(TOKEN, "").strip():
        kept[TOKEN] = ours[TOKEN]
    scratch = settings / "scratch"
    scratch.mkdir()
    return {
        **kept,
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),  # all that is left there goes when the lab ends
        "IPYTHONDIR": str(settings / "ipython"),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        ENGAGEMENT: str(engagement),
    }


def _command(folder: Path, settings: Path, *, port: int, browser: bool, terminals: bool = False) -> list[str]:
    own = Path(jupyter_config_dir()) / "lab"  # how JupyterLab looks to this person: colours, keys, open tabs
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.allow_remote_access": False,
        "ServerApp.root_dir": folder,
        "ServerApp.port": port,
        "ServerApp.kernel_spec_manager_class": f"{notebooks.__name__}.{notebooks.OwnPython.__name__}",
        "ServerApp.terminals_enabled": terminals,
        "ServerApp.jpserver_extensions": {TERMINALS: terminals},
        "LabApp.app_settings_dir": settings,
        "LabApp.user_settings_dir": own / "user-settings",
        "LabApp.workspaces_dir": own / "workspaces",
        "LabApp.extension_manager": "readonly",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.news_url": "",
    }
    told = (f"--{name}={value}" for name, value in options.items())
    command = processes.python("-m", lab_server.__name__, str(os.getpid()), *told)
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        if os.name == "posix":  # as the server asks: a port whose last connections are just closed is free
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    return next((port for port in range(FIRST_PORT, FIRST_PORT + 100) if _is_free(port)), FIRST_PORT)
