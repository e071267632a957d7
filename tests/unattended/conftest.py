"""A mail server on this machine, and a small engagement that mails to it."""

from __future__ import annotations

import socket
import ssl
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

TAX_ID = "91110108MA01A2B3XP"
HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计,开票渠道"


class Post:
    """What the server was handed; it refuses what its `refuse` names: a recipient, or everything by `DATA`."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.tls: list[bool] = []
        self.refuse: set[str] = set()
        self.port = 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address in self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if "DATA" in self.refuse:
            return "554 5.7.1 spam\x07"
        self.tls.append(session.ssl is not None)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret-pa55", handled=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    made, file = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(file)
    return made, file


def _serve(post: Post, **options: Any) -> Controller:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        post.port = free.getsockname()[1]
    controller = Controller(post, hostname="127.0.0.1", port=post.port, **options)
    controller.start()
    return controller


@pytest.fixture
def post(authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """A server that wants STARTTLS and a login, its certificate signed by an authority that we trust."""
    made, file = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    taken = Post()
    controller = _serve(
        taken, tls_context=context, require_starttls=True, auth_required=True, authenticator=taken.login
    )
    yield taken
    controller.stop()


@pytest.fixture
def plain() -> Iterator[Post]:
    """A server without encryption or login."""
    taken = Post()
    controller = _serve(taken)
    yield taken
    controller.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for whatever is kept."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    for name in ("AUDIT_KIT_CACHE", "AUDIT_KIT_CONFIG", "AUDIT_KIT_MAIL_PASSWORD", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return place


def invoices(month: str, *, count: int = 6) -> list[str]:
    number = int(month.replace("-", "")) * 100
    return [
        f"2511200000{number + at:010},{month}-{at + 3:02} 10:00:00,{TAX_ID},北京示例卖方有限公司,"
        f"北京第{at}买方贸易有限公司,{113 * (at + 1)}.00,网页"
        for at in range(count)
    ]


def write(folder: Path, month: str, *, notify: str = "") -> Path:
    """Write the files of a month: two of its invoices are missing from the platform."""
    folder.mkdir(exist_ok=True)
    rows = invoices(month)
    (folder / "ledger.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    (folder / "platform.csv").write_text("\n".join([HEAD, *rows[:1], *rows[3:]]) + "\n", encoding="utf-8")
    year, number = map(int, month.split("-"))
    after = f"{year + number // 12}-{number % 12 + 1:02}"
    (folder / "audit.toml").write_text(
        f"""[engagement]
name = "绝密松业"
taxpayer_id = "{TAX_ID}"
taxpayer_name = "北京示例卖方有限公司"
taken_at = {after}-10T09:00:00
[export]
period_start = {month}-01
period_end = {after}-01
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
{notify}""",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def write_month() -> Any:
    return write
