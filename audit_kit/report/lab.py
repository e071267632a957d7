"""JupyterLab on a person's own copies of the notebooks, with the engagement already set and no network needed."""

from __future__ import annotations

import ast
import copy
import hashlib
import itertools
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import platformdirs
from jupyter_core.paths import jupyter_config_dir

from audit_kit.core import outputs, places, processes
from audit_kit.core.errors import RequestError
from audit_kit.core.files import shown, shown_path
from audit_kit.core.hashing import hash_file
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import lab_server, notebooks
from audit_kit.report.progress import unused_lines
from audit_kit.resources.languages import reader_language
from audit_kit.views.show import choices
from audit_kit.views.show.page import ENGAGEMENT, one_a_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbformat import NotebookNode

    from audit_kit.loaders.engagement.engagement import Engagement

EARLIER = "earlier"
ELSEWHERE = "?"
OURS = "audit_kit"  # in a notebook's metadata: the lab's script runs such a one when it opens without results
KEY_DIGITS = 8
EXTENSIONS = "extensions"
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
        folder: where the copies are kept; null = a folder of this engagement's own, under `audit-kit` among the
            user's documents.
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
        raise RequestError("error_report.port_taken", port=port)
    place = folder.resolve() if folder else own_folder(opened.folder)
    root = place if folder else place.parent
    values = {"engagement": shown_path(opened.folder), "lang": lang, "without": one_a_line(without)}
    _check_owner(place, opened.folder)
    kept = copy_notebooks(place, values, state=state_of(opened.folder, is_whole=_is_whole(opened)))
    if not folder:
        _renew_others(root, place, lang=lang)
    with outputs.scratch(prefix="audit-kit-lab-") as settings:
        write_settings(settings, lang=lang)
        address = choices.address("" if folder else place.name)
        free = port or _free_port()
        command = _command(root, settings, port=free, browser=browser, terminals=terminals, address=address)
        words = Words(lang)
        say(f"{place}" + (words("console.lab_kept", names=words("answer.comma").join(kept)) if kept else ""))
        environment = _environment(settings, opened.folder) | {choices.COPIES: str(root)}
        with subprocess.Popen(command, env=environment, cwd=root) as lab:  # noqa: S603  our own Python, no shell
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


def own_folder(engagement: Path) -> Path:
    """Return where the copies of an engagement are kept: no other has the same, however much their names agree."""
    return unresolved_folder(engagement).resolve()


def unresolved_folder(engagement: Path) -> Path:
    """Return the same, a link that stands there not followed."""
    whole = engagement.resolve()
    key = hashlib.sha256(os.fsencode(os.path.normcase(whole))).hexdigest()[:KEY_DIGITS]
    return Path(platformdirs.user_documents_dir()) / "audit-kit" / f"{shown(whole.name)}-{key}"


def _check_owner(folder: Path, engagement: Path) -> None:
    """Refuse a folder that holds the notebooks of another engagement."""
    owner = choices.read_record(folder).get("engagement")
    if owner and owner != shown_path(engagement):
        raise RequestError("error_report.of_another", folder=shown_path(folder), owner=owner)


def _is_whole(engagement: Engagement) -> bool:
    """Tell whether all that is read lies in the engagement's folder."""
    entries = [entry for found in engagement.sources.values() for entry in found]
    return all(
        entry.uri is None and all(Path(path).is_relative_to(engagement.folder) for path in entry.paths)
        for entry in entries
    )


def state_of(folder: Path, *, is_whole: bool = True) -> str:
    """Return what tells files that changed: names, sizes, times; each time another where some lie elsewhere."""
    if not is_whole:
        return ELSEWHERE + secrets.token_hex(8)
    total = hashlib.sha256(version("audit-kit").encode())
    for path in sorted(folder.rglob("*")):
        with suppress(OSError):
            found = path.stat()
            if stat.S_ISREG(found.st_mode):
                total.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _renew_others(home: Path, own: Path, *, lang: str) -> None:
    """Bring the copies of the other engagements, which a list leads to, to what their files are now."""
    for record in sorted(home.glob(f"*/{choices.RECORD}")):
        place, told = record.parent, choices.read_record(record.parent).get("told")
        if place == own or not isinstance(told, dict) or not told.get("engagement"):
            continue
        folder = Path(told["engagement"])
        if not folder.is_dir() or own_folder(folder) != place:
            continue
        values = {name: value for name, value in told.items() if name != "state"} | {"lang": lang}
        is_whole = not str(told.get("state", "")).startswith(ELSEWHERE)
        copy_notebooks(place, values, state=state_of(folder, is_whole=is_whole))


def copy_notebooks(folder: Path, values: Mapping[str, object], *, state: str = "") -> list[str]:
    """Copy the notebooks in one language, code folded, with their parameters set.

    A copy whose cells a person changed is kept, and its name returned; but its parameters are always those given. What
    a copy shows stays as long as it was made from the same: once parameters or `state` (see `state_of`) differ, a copy
    with results goes into the folder `earlier`, and the one in its place has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noted = choices.read_record(folder)
    made = dict(noted.get("made", {} if "told" in noted else noted))
    told = {**values, "state": state}
    kept = []
    for source in places.notebooks():
        path, whole = folder / source.name, nbformat.read(source, as_version=4)
        fresh = fitted(whole, values)
        mine = _saved(path, made.get(path.name))
        if mine is not None:
            is_same = not _set_parameters(mine, fresh, values) and noted.get("told") == told
            is_changed = _is_changed(mine, whole)
            kept += [path.name] if is_changed else []
            if is_same:
                continue
            if any(cell.get("outputs") for cell in mine.cells):
                _put_by(path)
            if is_changed:
                nbformat.write(_emptied(mine, whole, lang=str(values.get("lang", ""))), path)
                made.pop(path.name, None)
                continue
        nbformat.write(fresh, path)
        made[path.name] = hash_file(path)
    record = {"engagement": str(values.get("engagement", "")), "told": told, "made": made}
    with outputs.writing(folder / choices.RECORD) as file:
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def fitted(notebook: NotebookNode, values: Mapping[str, object]) -> NotebookNode:
    """Return a notebook as the lab opens it: one language, code folded, parameters set, marked as the kit's own."""
    made = copy.deepcopy(notebook)
    unwanted = set(LANGUAGES) - {values["lang"]} if "lang" in values else set()
    made.cells = [cell for cell in made.cells if not unwanted & _tags(cell)]
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.metadata["jupyter"] = {**cell.metadata.get("jupyter", {}), "source_hidden": True}
        if notebooks.PARAMETERS in _tags(cell):
            cell.source = with_values(cell.source, values)
    if "engagement" in notebooks.parameters(notebook):  # not a drill, whose answers a person gives first
        made.metadata[OURS] = {"notebook": True}
    return made


def _saved(path: Path, ours: str | None) -> NotebookNode | None:
    """Return a copy that is no longer as we wrote it; null where there is none, or none that can be read."""
    if not path.is_file() or hash_file(path) == ours:
        return None
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError, nbformat.ValidationError):
        _put_by(path)
        return None


def _put_by(path: Path) -> None:
    """Move a copy to those of earlier states, by its time, as it is: what Jupyter trusts in it stays trusted."""
    at = datetime.fromtimestamp(path.stat().st_mtime)  # noqa: DTZ006  the clock on the user's wall, in a file's name
    earlier = path.parent / EARLIER
    earlier.mkdir(exist_ok=True)
    path.replace(earlier / f"{path.stem}-{at:%Y%m%d-%H%M%S}.ipynb")


def _set_parameters(mine: NotebookNode, fresh: NotebookNode, values: Mapping[str, object]) -> bool:
    """Set the parameters of a person's copy; return whether that changed it. A cell that is broken is made anew."""
    (whole,) = (cell for cell in fresh.cells if notebooks.PARAMETERS in _tags(cell))
    cells = [cell for cell in mine.cells if notebooks.PARAMETERS in _tags(cell)]
    if not cells:
        mine.cells.insert(0, copy.deepcopy(whole))
        return True
    before = [cell.source for cell in cells]
    for cell in cells:
        cell.source = _told(cell.source, values) or whole.source
    return before != [cell.source for cell in cells]


def _told(source: str, values: Mapping[str, object]) -> str:
    """Return a parameters cell with the values; empty where it then says anything else of them."""
    try:
        made = with_values(source, values)
        said = {
            node.target.id: ast.literal_eval(node.value)
            for node in ast.parse(made).body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
        }
        bound = [node.id for node in ast.walk(ast.parse(made)) if isinstance(node, ast.Name)]
    except (SyntaxError, ValueError):
        return ""
    is_said = all(said.get(name) == value and bound.count(name) == 1 for name, value in values.items())
    return made if is_said else ""


def _is_changed(mine: NotebookNode, whole: NotebookNode) -> bool:
    """Tell whether a person changed any cell but the parameters."""
    return not any(_cells(mine) == _cells(fitted(whole, {"lang": lang})) for lang in LANGUAGES)


def _cells(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells if notebooks.PARAMETERS not in _tags(cell)]


def _emptied(mine: NotebookNode, whole: NotebookNode, *, lang: str) -> NotebookNode:
    """Return a person's copy without results, our prose in it in the language asked for."""
    instead = {
        one.source: other
        for first, second in itertools.pairwise(whole.cells)
        for one, other in ((first, second), (second, first))
        if lang in _tags(other) and _tags(one) & (set(LANGUAGES) - {lang})
    }
    mine.cells = [copy.deepcopy(instead.get(cell.source, cell)) for cell in mine.cells]
    for cell in mine.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    mine.metadata.pop("widgets", None)
    return mine


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


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
    """Write what JupyterLab is told: our settings, with the menus in the language asked for, and our script."""
    with as_file(files("audit_kit").joinpath("resources", "jupyterlab")) as ours:
        settings = json.loads((ours / "overrides.json").read_text(encoding="utf-8"))
        shutil.copytree(ours / "labextension", folder / EXTENSIONS / "audit-kit-lab")
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
        "AUDIT_KIT_LANG": reader_language(),
    }


def _command(
    folder: Path, settings: Path, *, port: int, browser: bool, terminals: bool = False, address: str = "/lab"
) -> list[str]:
    own = Path(jupyter_config_dir()) / "lab"  # how JupyterLab looks to this person: colours, keys, open tabs
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.allow_remote_access": False,
        "ServerApp.root_dir": folder,
        "ServerApp.port": port,
        "ServerApp.kernel_spec_manager_class": f"{notebooks.__name__}.{notebooks.OwnPython.__name__}",
        "ServerApp.terminals_enabled": terminals,
        "ServerApp.jpserver_extensions": {TERMINALS: terminals},
        "LabApp.default_url": address,
        "LabApp.app_settings_dir": settings,
        "LabApp.extra_labextensions_path": settings / EXTENSIONS,
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
