"""Letters as e-mail over SMTP: one mail for all letters that wait, with the proofs and entries of matches attached.

The connection is encrypted and the server's certificate is checked, unless the server is on this machine. A password
is never sent over a connection that is not encrypted. One channel writes to one address: whether a mail arrived has
one answer then.
"""

import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from functools import partial
from typing import assert_never

import msgspec
import trio

from monitor.delivery.channel import Undelivered
from monitor.delivery.letter import Letter
from monitor.notice import Topic
from runtime.wording import utc
from tlog.text import decode_base64

LETTERS_A_MAIL = 50
MAX_ATTACHED_BYTES = 1024 * 1024  # of all attachments of one mail: what does not fit is fetched from the monitor
STEP_SECONDS = 30.0
MAIL_SECONDS = 120.0
MAX_SUBJECT = 160

_HIDDEN = frozenset({"proof", "entry", "text", "type"})  # attached, or printed above
_HOW_TO_VERIFY = """\
To check a match without trusting this monitor, save both attachments and use the policy that you trust:

    sameview verify proof {number}.tlog-proof --entry {number}.entry --policy policy.txt

"""


class Encryption(StrEnum):
    """How the connection to the server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A server, how to get in, and between which addresses mail goes."""

    host: str
    port: int
    encryption: Encryption
    sender: str
    to: str
    username: str = ""
    password: str = ""
    ca_file: str | None = None


class Mail:
    """The channel to one address."""

    at_once = LETTERS_A_MAIL

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Send one mail with all letters."""
        session = _Session(self._mailbox)
        try:
            with trio.fail_after(MAIL_SECONDS):
                await trio.to_thread.run_sync(
                    partial(session.send, compose(self._mailbox, letters)), abandon_on_cancel=True
                )
        except trio.TooSlowError:
            raise Undelivered(f"the mail server was not done within {MAIL_SECONDS:g} seconds") from None
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"the mail server answered with code {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = ", ".join(str(code) for code, _ in error.recipients.values())
            raise Undelivered(f"the mail server refused the address with code {codes}") from None
        except ssl.SSLError:
            raise Undelivered("the mail server's certificate or encryption is not accepted: see `ca_file`") from None
        except ConnectionRefusedError:
            place = f"{self._mailbox.host}:{self._mailbox.port}"
            raise Undelivered(
                f"nothing listens at {place}: start the mail server, or correct `host` and `port`"
            ) from None
        except socket.gaierror:
            raise Undelivered("the mail server's name is not known here: correct `host`") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"the mail server cannot be used: {type(error).__name__}") from None
        except ValueError:
            # The library writes a host's name, a user's and a password in ASCII, and reads challenges in base64.
            raise Undelivered("`host`, `username` or the password cannot be put into this conversation") from None
        finally:
            session.hang_up()


class _Session:
    """One conversation with the server, in a thread; ``hang_up`` ends it from outside."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._server: smtplib.SMTP | None = None

    def send(self, mail: bytes) -> None:
        with self._connected() as server:
            if self._mailbox.username:
                server.login(self._mailbox.username, self._mailbox.password)
            server.sendmail(self._mailbox.sender, [self._mailbox.to], mail)

    def hang_up(self) -> None:
        if self._server is not None and self._server.sock is not None:
            self._server.sock.close()

    def _connected(self) -> smtplib.SMTP:
        box, name = self._mailbox, socket.gethostname()
        match box.encryption:
            case Encryption.TLS:
                self._server = smtplib.SMTP_SSL(
                    box.host, box.port, name, timeout=STEP_SECONDS, context=_context(box.ca_file)
                )
            case Encryption.STARTTLS:
                self._server = smtplib.SMTP(box.host, box.port, name, timeout=STEP_SECONDS)
                self._server.starttls(context=_context(box.ca_file))
            case Encryption.NONE:
                self._server = smtplib.SMTP(box.host, box.port, name, timeout=STEP_SECONDS)
            case _:
                assert_never(box.encryption)
        return self._server


def _context(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def compose(mailbox: Mailbox, letters: Sequence[Letter]) -> bytes:
    """Write the mail: a subject that says it all for one letter, a paragraph for each, and what verifies them."""
    message = EmailMessage()
    message["From"] = mailbox.sender
    message["To"] = mailbox.to
    message["Subject"] = _subject(letters)
    message["Date"] = format_datetime(letters[-1].time)
    message["Message-ID"] = f"<{letters[0].id}.{len(letters)}@{mailbox.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    matches = [letter for letter in letters if letter.topic is Topic.MATCH]
    paragraphs = [_paragraph(letter) for letter in letters]
    if matches:
        paragraphs.append(_HOW_TO_VERIFY.format(number=matches[0].data()["match"]))
    message.set_content("\n".join([*paragraphs, f"This is {letters[0].monitor}.\n"]))
    for name, data in _attachments(matches):
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes(policy=SMTP.clone(max_line_length=None))  # folded subjects begin with a blank


def _subject(letters: Sequence[Letter]) -> str:
    said = headline(letters[0])
    if len(letters) > 1:
        counts = {topic: sum(letter.topic is topic for letter in letters) for topic in Topic}
        said = ", ".join(f"{count} {_plural(topic, count)}" for topic, count in counts.items() if count)
    again = " (again)" if letters[0].attempt > 1 else ""
    return f"[sameview] {said}{again}"[:MAX_SUBJECT]


def _plural(topic: Topic, count: int) -> str:
    one, more = {
        Topic.ALARM: ("alarm", "alarms"),
        Topic.MATCH: ("match", "matches"),
        Topic.HEALTH: ("self-check", "self-checks"),
    }[topic]
    return one if count == 1 else more


def headline(letter: Letter) -> str:
    """One line that says what a letter is about."""
    data = letter.data()
    if letter.topic is Topic.ALARM:
        said = " ".join(str(data[key]) for key in ("event", "kind", "origin", "subject") if data.get(key))
    else:
        said = str(data.get("text", ""))
    return _line(f"{letter.topic}: {said}")


def _paragraph(letter: Letter) -> str:
    lines = [headline(letter)]
    if letter.attempt > 1:
        lines.append("  This may have reached you before.")
    shown = [("id", letter.id), ("time", letter.time.isoformat())]
    for name, value in letter.data().items():
        if name not in _HIDDEN and value not in (None, "", []):
            shown += _in_words(name, value)
    lines += [_line(f"  {name}: {value}") for name, value in shown]
    return "\n".join([*lines, ""])


def _in_words(name: str, value: object) -> Iterator[tuple[str, str]]:
    """What programs are told as it is, for a person."""
    match value:
        case bool():
            yield name, "yes" if value else "no"
        case int() if name.endswith("_ms"):
            yield name.removesuffix("_ms"), utc(value)
        case list():
            yield name, "; ".join(map(str, value))
        case dict() if name == "channels":
            for channel, state in msgspec.convert(value, dict[str, _ChannelState]).items():
                yield f"channel {channel}", state.in_words()
        case _:
            yield name, str(value)


class _ChannelState(msgspec.Struct):
    """What the self-check says of a channel."""

    waiting: int
    failing_since_ms: int | None

    def in_words(self) -> str:
        works = "works" if self.failing_since_ms is None else f"has failed since {utc(self.failing_since_ms)}"
        return f"{self.waiting} waiting, {works}"


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _attachments(matches: Sequence[Letter]) -> Iterator[tuple[str, bytes]]:
    left = MAX_ATTACHED_BYTES
    for letter in matches:
        data = letter.data()
        proof, entry = (
            str(data.get("proof", "")).encode(),
            decode_base64(str(data.get("entry", "")).encode(), "an entry"),
        )
        for suffix, part in (("tlog-proof", proof), ("entry", entry)):
            if 0 < len(part) <= left:
                left -= len(part)
                yield f"{data['match']}.{suffix}", part
