"""Nothing that lies in a client's folder runs, nobody else gets into the lab, and all processes end together."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbformat import v4

from audit_kit.core.cache_folder import cache_folder
from audit_kit.report import lab
from audit_kit.training.world.einvoice_files import Paper, xml
from audit_kit.training.world.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

MARK = "AUDIT_KIT_TEST_FAMILY"
COMMAND = "import sys; from audit_kit.cli.main import main; sys.exit(main())"
CONFIGURED = (
    "ipython_config",
    "ipython_kernel_config",
    "jupyter_config",
    "jupyter_server_config",
    "jupyter_lab_config",
)
OPEN = """
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.allow_origin = "*"
c.ServerApp.allow_remote_access = True
c.ServerApp.allow_unauthenticated_access = True
c.ServerApp.disable_check_xsrf = True
c.ServerApp.root_dir = "/"
c.ServerApp.token = ""
c.ServerApp.password = ""
c.ServerApp.terminals_enabled = True
c.ServerApp.jpserver_extensions = {"jupyter_server_terminals": True}
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.hashed_password = ""
"""
PARAMETERS = v4.new_code_cell(
    'engagement: str = ""\nmonth: str = ""\nlang: str = "zh"\nredact: bool = False\n'
    'previous: str = ""\nhistory: str = ""\nwithout: str = ""',
    metadata={"tags": ["parameters"]},
)
ALL_THERE = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def names() -> set[str]:
    """Every name that a child could import: of the standard library and of whatever is installed."""
    installed = {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    hooks = {"audit_kit", "ipykernel_launcher", "sitecustomize", "usercustomize", "pyximport"}
    places = Path(sysconfig.get_path("purelib"))
    files = {
        path.name.split(".")[0] for place in (".", "debugpy/_vendored/pydevd") for path in (places / place).iterdir()
    }
    return set(sys.stdlib_module_names) | installed | hooks | {name for name in files if "-" not in name}


def plant(folder: Path, marker: Path) -> None:
    """Lay files into a folder that leave their names in `marker` if they are run, and then fail."""
    folder.mkdir(parents=True, exist_ok=True)

    def trap(name: str) -> str:
        return f"open({str(marker)!r}, 'a').write({name + chr(10)!r})\nraise SystemExit({name!r})\n"

    for name in (*names(), *CONFIGURED, "conftest"):
        (folder / f"{name}.py").write_text(trap(name))
    (folder / ".pdbrc").write_text(f"import os; os.system('echo pdb >> {marker}')\n")
    (folder / "jupyter_notebook_config.json").write_text('{"ServerApp": {"ip": "0.0.0.0"}}')
    for name in ("chromium", "google-chrome", "java", "node", "python", "python3", "git", "bash"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {marker}\nexit 1\n")
        (folder / name).chmod(0o755)
    told = folder / "evil-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    groups = ("jupyter_client.kernel_provisioners", "papermill.engine", "papermill.io", "altair.vegalite.v6.theme")
    (told / "entry_points.txt").write_text("".join(f"[{group}]\nevil = evil:it\n" for group in groups))
    (folder / "evil.py").write_text(trap("evil"))
    page = folder / "lab"  # a template of nbconvert
    page.mkdir()
    settings = {"base_template": "base", "preprocessors": {"1": {"type": "evil.Evil", "enabled": True}}}
    (page / "conf.json").write_text(json.dumps(settings))
    code = f"cycler.__init__.__globals__.os.system('echo template >> {marker}')"
    (page / "base.html.j2").write_text("{{ " + code + " }}")


def own(home: Path, marker: Path) -> None:
    """Give a person settings of IPython that leave a mark, and settings of Jupyter that open everything."""
    startup = home / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text(f"open({str(marker)!r}, 'a').write('startup')\n")
    (home / "start.py").write_text(f"open({str(marker)!r}, 'a').write('PYTHONSTARTUP')\n")
    jupyter = home / ".jupyter"
    jupyter.mkdir()
    for name in ("jupyter_config", "jupyter_server_config", "jupyter_lab_config"):
        (jupyter / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write({name!r})\n{OPEN}")
    known = {"ServerApp": {"ip": "0.0.0.0", "token": ""}, "IdentityProvider": {"token": ""}}  # noqa: S104
    (jupyter / "jupyter_server_config.json").write_text(json.dumps(known))


def told(home: Path, family: str) -> dict[str, str]:
    """The environment of a person whose search paths name the current folder first."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "AUDIT_KIT"))}
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    places = {"HOME": home, "TMPDIR": home / "tmp", "JUPYTER_RUNTIME_DIR": home / "runtime"}
    return {
        **found,
        **{name: str(place) for name, place in places.items()},
        "AUDIT_KIT_CACHE": str(cache_folder()),
        "PATH": os.pathsep.join((".", "", os.environ["PATH"])),
        "JUPYTER_PATH": ".",
        "PYTHONSTARTUP": str(home / "start.py"),
        "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": "true",
        MARK: family,
    }


def family_of(family: str) -> list[str]:
    """The commands of every process that inherited the name of a family."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={family}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_until(found: Callable[[], Any], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.05)


def python(program: str, *words: object) -> list[str]:
    """A command as a console script is: its own folder is not the current one."""
    return [sys.executable, "-P", "-c", program, *map(str, words)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engagement whose folder is full of traps, and a folder below it that is as well."""
    top = tmp_path_factory.mktemp("client")
    folder, marker = top / "甲", top / "marker"
    simulate(folder, invoices=60, seed=3, month="2025-05", format="csv", backups=False)
    plant(folder, marker)
    plant(folder / "mine", marker)
    subprocess.run([sys.executable, "-c", "import polars"], cwd=folder, capture_output=True, check=False)
    assert marker.read_text().split(), "the traps do not work"
    marker.unlink()
    own(top / "home", marker)
    return folder


def ran(client: Path) -> str:
    marker = client.parent / "marker"
    return marker.read_text() if marker.exists() else ""


def test_a_report_made_inside_a_clients_folder_runs_nothing_of_it(client: Path, tmp_path: Path) -> None:
    book = tmp_path / "00_try.ipynb"
    code = "from audit_kit.views.show.page import open_page\np = open_page(engagement, month=month, lang=lang)\n"
    nbformat.write(v4.new_notebook(cells=[PARAMETERS, v4.new_code_cell(code), v4.new_code_cell(ALL_THERE)]), book)
    program = f"from pathlib import Path; from audit_kit.core import places; one = Path({str(book)!r})\n"
    program += "places.notebooks = lambda: [one]\n"
    done = subprocess.run(
        python(program + COMMAND, "report", ".", "--out", tmp_path / "out", "--json"),
        cwd=client,
        env=told(client.parent / "home", "report"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, ran(client)) == (0, ""), done.stderr
    page = (Path(json.loads(done.stdout)["folder"]) / "00_try.html").read_text(encoding="utf-8")
    imported = set(page[page.index("IPython") :].split("<")[0].split())
    assert {"polars", "ipykernel", "audit_kit"} <= imported
    made = ("__main__", "__mp_main__", "cython_runtime", "_cython_")  # not found on any path
    assert {name for name in imported - names() if name.isidentifier() and not name.startswith(made)} == set()


def test_two_thousand_einvoices_read_inside_a_clients_folder_run_nothing_of_it(client: Path, tmp_path: Path) -> None:
    bills = tmp_path / "bills"
    bills.mkdir()
    parties = dict.fromkeys(("seller_tax_id", "buyer_tax_id"), "") | {"seller_name": "甲", "buyer_name": "乙"}
    money = {"net": Decimal(9), "tax": Decimal(1), "gross": Decimal(10)}
    said = xml(Paper(number="25112000000012345678", issued_at=datetime(2025, 5, 3), **parties, **money))
    for number in range(2_100):
        (bills / f"{number}.xml").write_bytes(said)
    program = "import os, sys; os.cpu_count = lambda: 2; from audit_kit.loaders.einvoices.folder import read_folder\n"
    program += "print(read_folder(sys.argv[1]).rows.height)"
    done = subprocess.run(
        python(program, bills),
        cwd=client,
        env=told(client.parent / "home", "bills"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), ran(client)) == ("2100", ""), done.stderr


class Server:
    """A lab that a person opened inside a client's folder, with the client's engagement and copies below it."""

    def __init__(self, client: Path) -> None:
        self.home = client.parent / "home"
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        command = python(COMMAND, "lab", ".", "--folder", "mine", "--port", self.port, "--no-browser")
        self.process = subprocess.Popen(command, cwd=client, env=told(self.home, "lab"), stderr=subprocess.PIPE)
        runtime = self.home / "runtime"
        wait_until(lambda: any(path.stat().st_size for path in runtime.glob("jpserver-*.json")), seconds=60)
        (known,) = runtime.glob("jpserver-*.json")
        self.token = json.loads(known.read_text())["token"]

    def ask(self, path: str, body: dict[str, Any] | None = None, *, token: str | None = None, host: str = "") -> Any:
        """What the server answers; where it refuses, the code."""
        headers = {"Authorization": f"token {self.token if token is None else token}", "Host": host or "127.0.0.1"}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=20) as reply:  # noqa: S310  our own server
                return json.load(reply)
        except HTTPError as refused:
            return refused.code


@pytest.fixture(scope="module")
def server(client: Path) -> Iterator[Server]:
    opened = Server(client)
    yield opened
    opened.process.kill()
    opened.process.wait()


def test_a_cell_of_the_lab_runs_nothing_of_the_folder_it_stands_in(client: Path, server: Server) -> None:
    about = {"path": "00_overview.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = server.ask("api/sessions", about)["kernel"]["id"]
    wait_until(lambda: list(server.home.glob(f"runtime/kernel-{kernel}.json")), seconds=20)
    talk = BlockingKernelClient(connection_file=str(server.home / f"runtime/kernel-{kernel}.json"))
    talk.load_connection_file()
    talk.start_channels()
    talk.wait_for_ready(timeout=60)
    said: list[str] = []
    code = "import os, polars, audit_kit, altair, itables; print(os.getcwd(), polars.__file__, *os.environ)"
    reply = talk.execute_interactive(
        code, timeout=60, output_hook=lambda told: said.append(told["content"].get("text", ""))
    )
    talk.stop_channels()
    assert reply["content"]["status"] == "ok", reply
    folder, place, *environment = "".join(said).split()
    assert (folder, Path(place).parent.name) == (str(client / "mine"), "polars")
    assert "PYTHONSTARTUP" not in environment
    assert ran(client) == ""


def test_a_persons_jupyter_settings_do_not_open_the_lab(server: Server) -> None:
    assert len(server.token) >= 40
    assert server.ask("api/contents")["type"] == "directory"
    assert {entry["path"] for entry in server.ask("api/contents")["content"]} >= {"00_overview.ipynb"}
    assert [server.ask("api/contents", token=token) for token in ("", "secret")] == [403, 403]
    assert server.ask("api/contents", host="elsewhere.example") == 403
    assert server.ask("api/terminals") == 404
    commands = [command for command in family_of("lab") if server.token in command]
    assert commands == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own_address:
        own_address.connect(("192.0.2.1", 9))  # nothing is sent: it tells which address we would send from
        for address in ("127.0.0.2", own_address.getsockname()[0]):
            if address != "127.0.0.1":
                with pytest.raises(OSError, match="refused"):
                    socket.create_connection((address, server.port), timeout=5)


def test_terminals_are_there_where_they_are_asked_for(tmp_path: Path) -> None:
    told_so = [lab._command(tmp_path, tmp_path, port=1, browser=False, terminals=flag) for flag in (True, False)]
    switches = [
        [
            word.split("=", 1)[1]
            for word in words
            if word.split("=")[0].endswith(("terminals_enabled", "jpserver_extensions"))
        ]
        for words in told_so
    ]
    assert switches == [
        ["True", "{'jupyter_server_terminals': True}"],
        ["False", "{'jupyter_server_terminals': False}"],
    ]


def test_a_lab_that_is_told_to_end_leaves_no_process_and_no_file(client: Path, server: Server) -> None:
    assert len(family_of("lab")) >= 3, "a command, its server and a kernel"
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=30)
    assert server.process.returncode == 143
    wait_until(lambda: not family_of("lab"), seconds=5)
    assert family_of("lab") == []
    assert list((server.home / "tmp").iterdir()) == []
    assert b"Traceback" not in said
    assert said.decode().rstrip().endswith("audit-kit: 已停止；没有留下做了一半的文件。")
    assert ran(client) == ""


SLEEPING = """
import pathlib, sys
from audit_kit.cli import main as cli
from audit_kit.report import notebooks
folder = pathlib.Path(sys.argv[1])
def work(options):
    notebooks.run_all(sorted(folder.glob("*.ipynb")), {}, lang="zh", folder=folder / "out", jobs=2, done=print)
cli.parser = lambda: type("", (), {"parse_args": lambda *_: type("", (), {"run": staticmethod(work)})})
sys.exit(cli.main([]))
"""
HASHING = """
import sys
from audit_kit.cli import main as cli
from audit_kit.core import hashing
hashing.os.cpu_count = lambda: 2
cli.parser = lambda: type("", (), {"parse_args": lambda *_: type("", (), {
    "run": staticmethod(lambda _: hashing.hash_files(sys.argv[1]))})})
sys.exit(cli.main([]))
"""


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two notebooks that would take an hour, and two files that would take a minute to hash."""
    folder = tmp_path_factory.mktemp("sleeper")
    (folder / "out").mkdir()
    for number in range(2):
        code = f"import pathlib, time\npathlib.Path('begun-{number}').touch()\ntime.sleep(3600)"
        nbformat.write(v4.new_notebook(cells=[PARAMETERS, v4.new_code_cell(code)]), folder / f"0{number}_a.ipynb")
        (folder / "large").mkdir(exist_ok=True)
        with (folder / "large" / f"{number}.bin").open("wb") as file:
            file.truncate(40 << 30)
    return folder


def begin(program: str, argument: Path, home: Path, family: str) -> subprocess.Popen[str]:
    """Start a program in a home of its own, in which it stands."""
    environment = told(home, family)
    (home / "stand").mkdir()
    return subprocess.Popen(
        python(program, argument), cwd=home / "stand", env=environment, stderr=subprocess.PIPE, text=True
    )


WAYS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGKILL: -9}


@pytest.mark.parametrize(
    ("program", "ways"),
    [(SLEEPING, (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)), (HASHING, tuple(WAYS))],
    ids=["notebooks", "hashes"],
)
def test_every_ending_is_as_tidy_as_an_interrupt(
    sleeper: Path, tmp_path: Path, program: str, ways: tuple[signal.Signals, ...]
) -> None:
    argument = sleeper if program is SLEEPING else sleeper / "large"
    homes = {way: tmp_path / way.name for way in ways}
    started = {way: begin(program, argument, home, str(home)) for way, home in homes.items()}
    for way, process in started.items():
        wait_until(lambda home=homes[way]: len(family_of(str(home))) >= 3, seconds=60)
        if program is SLEEPING:
            wait_until(lambda home=homes[way]: len(list((home / "stand").iterdir())) == 2, seconds=60)
        process.send_signal(way)
    for way, process in started.items():
        home = homes[way]
        _, said = process.communicate(timeout=20)
        assert process.returncode == WAYS[way], said
        wait_until(lambda home=home: not family_of(str(home)), seconds=10)
        assert family_of(str(home)) == []
        if way != signal.SIGKILL:
            assert said == "audit-kit: 已停止；没有留下做了一半的文件。\n"
            assert list((home / "tmp").iterdir()) == []
            assert not list(home.glob("runtime/kernel-*"))


def test_readers_of_einvoices_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    bills, home = tmp_path / "bills", tmp_path / "home"
    bills.mkdir()
    home.mkdir()
    for number in range(6_000):
        (bills / f"{number}.xml").write_bytes(b"<a/>")
    program = "import os, sys; os.cpu_count = lambda: 2; from audit_kit.loaders.einvoices.folder import read_folder\n"
    program += "read_folder(sys.argv[1])"
    with subprocess.Popen(python(program, bills), cwd=home, env=told(home, "killed"), stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: len(family_of("killed")) >= 2, seconds=60)
        assert len(family_of("killed")) >= 2
        run.kill()
    wait_until(lambda: not family_of("killed"), seconds=20)
    assert family_of("killed") == []
