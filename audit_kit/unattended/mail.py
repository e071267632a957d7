"""One mail through the company's own server, by Python's own library; its password comes from the user alone.

Nothing that is sent goes anywhere but to the server and the addresses that the user has allowed.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import stat
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING

from audit_kit.core.errors import MailError, of_system
from audit_kit.loaders.engagement.permits import config_folder
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.core.policy import Notify

PASSWORD = "AUDIT_KIT_MAIL_PASSWORD"  # noqa: S105  the name of the variable
PASSWORD_FILE = "mail-password"  # noqa: S105  the name of the file
PORTS = {"starttls": 587, "tls": 465, "none": 25}
HERE = ("localhost", "127.0.0.1", "::1")
WAIT_SECONDS = 30
LONGEST_PASSWORD_BYTES = 1_000
LONGEST_ANSWER = 200
WHY = {
    ssl.SSLCertVerificationError: "certificate",
    ssl.SSLError: "no_tls",
    smtplib.SMTPNotSupportedError: "not_supported",
    smtplib.SMTPAuthenticationError: "no_login",
    smtplib.SMTPRecipientsRefused: "no_recipient",
    TimeoutError: "no_answer",
}


def message(notify: Notify, *, subject: str, lines: list[str]) -> EmailMessage:
    """Return a mail of plain text; what is no letter, as a line break in a name, cannot begin a line or a header."""
    mail = EmailMessage()
    mail["Subject"] = _one_line(subject)
    mail["From"] = notify.sender or notify.to[0]
    mail["To"] = ", ".join(notify.to)
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain=(notify.sender or notify.to[0]).rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(map(_one_line, lines)) + "\n")
    return mail


def send(notify: Notify, mail: EmailMessage) -> None:
    """Hand a mail to the server.

    Raises:
        MailError: it was not taken, or not for everyone; the sentence never holds the password.
    """
    if not notify.server:
        raise MailError("error_unattended.no_server")
    password = password_of(notify) if notify.user else None
    port = notify.port or PORTS[notify.security]
    try:
        with _server(notify, port) as server:
            if notify.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if notify.user and password is not None:
                server.login(notify.user, password)
            refused = server.send_message(mail)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise MailError("error_unattended.not_sent", server=notify.server, port=port, why=_why(error)) from None
    if refused:
        raise MailError("error_unattended.refused_for", who=", ".join(refused))


def password_of(notify: Notify) -> str:
    """Return the password: of the environment, else of the file in the user's settings that only they may read.

    Raises:
        MailError: there is none, others can read the file, or it would go over the wire in the clear.
    """
    if notify.security == "none" and notify.server not in HERE:
        raise MailError("error_unattended.in_clear")
    if stated := os.environ.get(PASSWORD):
        return stated
    file = config_folder() / PASSWORD_FILE
    try:
        return _secret(file)
    except FileNotFoundError:
        raise MailError("error_unattended.no_password", variable=PASSWORD, file=file) from None
    except (OSError, UnicodeDecodeError) as error:
        why = of_system(getattr(error, "strerror", None))
        raise MailError("error_unattended.password_closed", file=file, why=why) from None


def _secret(file: Path) -> str:
    """Return the first line of a file that is the user's alone; a link is not followed."""
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as opened:
        about = os.fstat(handle)
        is_open = os.name != "nt" and (about.st_mode & 0o077 or about.st_uid != os.getuid())
        if not stat.S_ISREG(about.st_mode) or is_open:
            raise MailError("error_unattended.password_open", file=file)
        return opened.read(LONGEST_PASSWORD_BYTES).decode().partition("\n")[0].strip("\r")


def _server(notify: Notify, port: int) -> smtplib.SMTP:
    host = str(notify.server)
    if notify.security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=WAIT_SECONDS, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=WAIT_SECONDS)


def _why(error: Exception) -> Phrase | str:
    """Return why a server took no mail, in words that can be said in every language."""
    behind = (error, error.__context__)  # smtplib calls a server that is silent one that broke off
    if key := next((key for kind, key in WHY.items() if any(isinstance(one, kind) for one in behind)), None):
        return Phrase(f"error_unattended.{key}", seconds=WAIT_SECONDS)
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error if isinstance(error.smtp_error, str) else error.smtp_error.decode("ascii", "replace")
        return f"{error.smtp_code} {_one_line(answer)[:LONGEST_ANSWER]}"
    if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException) and error.strerror:
        return of_system(error.strerror)
    return Phrase("error_unattended.broken_off")


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)
