"""A report is mailed about where that was asked for and allowed; a mail that fails loses nothing and is said."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from audit_kit.cli.main import main
from audit_kit.core import places
from audit_kit.core.errors import EXIT_DEFECT, EXIT_DONE, EXIT_FINDINGS, EXIT_UNTOLD, EXIT_UNUSABLE, MailError
from audit_kit.core.policy import Notify
from audit_kit.loaders.engagement import permits
from audit_kit.loaders.engagement.inputs import mail_ways, settings_of
from audit_kit.report import work_up
from audit_kit.unattended import mail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

SECRET = "s3cret-pa55"  # noqa: S105  the trial server's
NAMES = ("绝密松业", "北京示例卖方有限公司", "91110108MA01A2B3XP", "买方贸易")
MONTH = "2025-05"


def settings(port: int, more: str = 'user = "audit-kit"', *, to: str = '["a@example.com", "b@example.com"]') -> str:
    return f'[notify]\nto = {to}\nserver = "127.0.0.1"\nport = {port}\n{more}\n'


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert home.is_dir()
    monkeypatch.setattr(places, "notebooks", list)
    monkeypatch.setenv("AUDIT_KIT_MAIL_PASSWORD", SECRET)
    return tmp_path / "项目"


def allow(folder: Path) -> None:
    permits.keep(folder.resolve(), mail_ways(settings_of(folder)))


def run(folder: Path, *more: str) -> int:
    return main(["report", str(folder), "--month", MONTH, "--out", str(folder.parent / "reports"), "--notify", *more])


def whole(folder: Path) -> bool:
    return (folder.parent / "reports" / MONTH / "manifest.json").is_file()


def test_counts_five_lines_and_place_are_mailed_and_nobody_is_named(place: Path, post: Any, write_month: Write) -> None:
    write_month(place, MONTH, notify=settings(post.port))
    allow(place)
    assert run(place, "--fail-on", "medium") == EXIT_FINDINGS
    (sent,) = post.mails
    assert (post.tls, post.logins) == ([True], [(b"audit-kit", SECRET.encode())])
    assert (sent["To"], sent["From"]) == ("a@example.com, b@example.com", "a@example.com")
    assert sent["Auto-Submitted"] == "auto-generated"
    text = sent.get_content()
    assert "2025 年 5 月" in sent["Subject"]
    assert "严重" in sent["Subject"]
    assert text.count("：") >= 5
    assert "范围" in text
    assert str(place.parent / "reports" / MONTH / "index.html") in text
    assert not [name for name in (*NAMES, SECRET) if name in sent["Subject"] + text]


def test_names_are_named_only_where_it_is_asked_and_the_link_is_given(
    place: Path, plain: Any, write_month: Write
) -> None:
    more = 'security = "none"\nnames = true\nlink = "https://share.example.com/报告/"'
    write_month(place, MONTH, notify=settings(plain.port, more, to='"a@example.com"'))
    allow(place)
    assert run(place, "--lang", "en") == EXIT_DONE
    (sent,) = plain.mails
    assert "Engagement: 绝密松业" in sent.get_content()
    assert "https://share.example.com/报告/2025-05/index.html" in sent.get_content()
    assert plain.logins == []


def test_a_path_that_names_the_company_is_told_by_its_end(place: Path, plain: Any, write_month: Write) -> None:
    folder = write_month(place.parent / "acme-audit", MONTH, notify=settings(plain.port, 'security = "none"'))
    allow(folder)
    out = place.parent / "ACME-audit reports"
    assert main(["report", str(folder), "--month", MONTH, "--out", str(out), "--notify"]) == EXIT_DONE
    text = plain.mails[0].get_content()
    assert "…/2025-05/index.html" in text
    assert "acme" not in text.casefold()


def test_no_mail_goes_where_the_user_has_allowed_none(
    place: Path, post: Any, write_month: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_month(place, MONTH, notify=settings(post.port))
    assert run(place, "--lang", "en") == EXIT_UNTOLD
    assert post.mails == []
    assert "audit-kit allow" in capsys.readouterr().err
    assert whole(place)
    allow(place)
    write_month(place, MONTH, notify=settings(post.port, to='"thief@example.com"'))
    assert run(place) == EXIT_UNTOLD
    assert post.mails == []


@pytest.mark.parametrize("fault", ["password", "certificate", "closed", "silent", "data", "recipient", "all"])
def test_a_server_that_takes_no_mail_is_one_sentence_that_says_why(
    home: Path, post: Any, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.is_dir()
    port, silent = post.port, socket.socket()
    monkeypatch.setenv(mail.PASSWORD, "wrong-0ne" if fault == "password" else SECRET)
    if fault == "certificate":
        monkeypatch.delenv("SSL_CERT_FILE")
    if fault in {"closed", "silent"}:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        monkeypatch.setattr(mail, "WAIT_SECONDS", 0.3)
        if fault == "silent":
            silent.listen()
    both = {"a@example.com", "b@example.com"}
    post.refuse = {"data": {"DATA"}, "recipient": {"b@example.com"}, "all": both}.get(fault, set())
    notify = Notify(to=tuple(sorted(both)), server="127.0.0.1", port=port, user="audit-kit")
    with pytest.raises(MailError) as error:
        mail.send(notify, mail.message(notify, subject="月报", lines=["一"]))
    silent.close()
    said = str(error.value)
    words = {
        "password": "refused user or password",
        "certificate": "certificate that cannot be verified",
        "closed": "refused",
        "silent": "no answer",
        "data": "554",
        "recipient": "no mail for b@example.com",
        "all": "refused every recipient",
    }[fault]
    assert words in said
    assert said.isprintable()
    assert not [secret for secret in (SECRET, "wrong-0ne") if secret in said]


def test_a_run_that_failed_is_mailed_without_what_it_read(place: Path, post: Any, write_month: Write) -> None:
    write_month(place, MONTH, notify=settings(post.port))
    allow(place)
    assert run(place) == EXIT_DONE
    (place / "ledger.csv").rename(place / "绝密松业.csv")
    assert run(place) == EXIT_UNUSABLE
    sent = post.mails[-1]
    assert "未生成" in sent["Subject"]
    assert "[sources]" in sent.get_content()
    assert not [name for name in (*NAMES, "ledger.csv") if name in sent.get_content()]
    assert whole(place)


def test_a_defect_is_mailed_by_its_kind_alone(
    place: Path, post: Any, write_month: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("北京示例卖方有限公司")

    monkeypatch.setattr(work_up.manifest, "build", broken)
    write_month(place, MONTH, notify=settings(post.port))
    allow(place)
    assert run(place) == EXIT_DEFECT
    assert "KeyError" in post.mails[0].get_content()
    assert not [name for name in NAMES if name in post.mails[0].get_content()]


@pytest.mark.parametrize(("when", "mails"), [("findings", 0), ("failure", 0)])
def test_who_wants_bad_news_only_gets_no_other(
    place: Path, post: Any, write_month: Write, when: str, mails: int
) -> None:
    write_month(place, MONTH, notify=settings(post.port, f'user = "x"\nwhen = "{when}"'))
    allow(place)
    assert run(place) == EXIT_DONE
    assert len(post.mails) == mails
    if when == "findings":
        assert run(place, "--fail-on", "info") == EXIT_FINDINGS
        assert len(post.mails) == 1


def test_without_notify_nobody_is_mailed_and_asking_for_it_is_refused(
    place: Path, write_month: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_month(place, MONTH)
    assert run(place, "--lang", "en") == EXIT_UNUSABLE
    assert "names no recipient" in capsys.readouterr().err
    assert not (place.parent / "reports").exists()


def test_a_trial_mail_is_sent_by_a_command(
    place: Path, post: Any, write_month: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_month(place, MONTH, notify=settings(post.port))
    assert main(["notify", str(place)]) == EXIT_UNTOLD
    assert main(["allow", str(place), *[way.place for way in mail_ways(settings_of(place))]]) == EXIT_DONE
    assert main(["notify", str(place)]) == EXIT_DONE
    assert "a@example.com" in capsys.readouterr().out
    assert len(post.mails) == 1


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o640, False), (0o604, False)])
def test_a_password_is_read_from_a_file_that_is_its_owners_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, mode: int, taken: bool
) -> None:
    assert place.parent.is_dir()
    monkeypatch.delenv(mail.PASSWORD)
    notify = Notify(to=("a@example.com",), server="mail.example.com", user="x")
    with pytest.raises(MailError, match="there is no password"):
        mail.password_of(notify)
    file = permits.config_folder() / mail.PASSWORD_FILE
    file.parent.mkdir(parents=True)
    file.write_text(f"{SECRET}\n")
    file.chmod(mode)
    if taken:
        assert mail.password_of(notify) == SECRET
    else:
        with pytest.raises(MailError, match="you alone can read"):
            mail.password_of(notify)
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))
    with pytest.raises(MailError):
        mail.password_of(notify)


def test_a_password_never_goes_over_the_wire_in_the_clear(place: Path) -> None:
    assert place.parent.is_dir()
    with pytest.raises(MailError, match="in the clear"):
        mail.password_of(Notify(to=("a@b.cn",), server="mail.example.com", user="x", security="none"))


def test_a_hostile_name_makes_no_header_and_no_line(place: Path) -> None:
    assert place.parent.is_dir()
    made = mail.message(Notify(to=("a@b.cn",), server="x"), subject="月报\r\nBcc: t@e.cn", lines=["一\n\nX: y\x1b[31m"])
    assert made["Bcc"] is None
    assert made.get_content() == "一  X: y [31m\n"
