"""Each channel says what happened: taken, or not and why. What it brings can be verified by other people's code."""

import email
import email.policy
import gc
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook as Receiver

from monitor.courier.health import ChannelState, Health, daily
from monitor.courier.store import StoredChannel
from monitor.delivery import Channel, DeliverConfig, Letter, Undelivered, read_recipients
from monitor.delivery import config as delivery_config
from monitor.delivery.hook import Hook
from monitor.delivery.letter import pause
from monitor.delivery.mail import Encryption, Mail, Mailbox, compose
from monitor.delivery.output import Output
from monitor.delivery.webhook import Webhook
from monitor.notice import Topic
from runtime.client import Failure, FetchError, Response
from runtime.clock import SystemClock
from runtime.errors import UsageError
from tests.ports import free_port

SECRET = b"s" * 32
ORIGIN = "log.example/one"


def letter(number: int = 1, topic: Topic = Topic.ALARM, attempt: int = 1, **data: object) -> Letter:
    body = {"event": "raised", "kind": "log-stale", "origin": ORIGIN, **data} if topic is Topic.ALARM else data
    return Letter(number, topic, f"key {number}", msgspec.json.encode(body), 1_700_000_000_000, attempt, "m.example/m1")


def match(number: int, **data: object) -> Letter:
    document: dict[str, object] = {
        "type": "match",
        "text": f"the watch w found entry {number}",
        "match": number,
        "found": ["one", "two"],
        "proof": "c2sp.org/tlog-proof@v1\nindex 0\n",
        "entry": b64encode(b"entry \xff").decode(),
        **data,
    }
    return Letter(number, Topic.MATCH, f"key {number}", msgspec.json.encode(document), 1_700_000_000_000, 1, "m")


# Letters.


def test_a_letter_is_the_same_document_at_each_attempt_but_for_the_count() -> None:
    first, again = letter(attempt=1), letter(attempt=2)
    documents = [msgspec.json.decode(one.document()) for one in (first, again)]
    assert first.id == again.id != letter(2).id
    assert [one.pop("attempt") for one in documents] == [1, 2]
    assert documents[0] == documents[1]
    assert documents[0]["timestamp"] == "2023-11-14T22:13:20Z"


def test_pauses_grow_and_end_growing() -> None:
    assert [pause(count, None) for count in (1, 2, 5, 11, 10_000)] == [1, 2, 16, 900, 900]
    assert (pause(1, 60.0), pause(1, 1e9), pause(20, 5.0)) == (60, 3600, 900)


# Web hooks.


@dataclass
class Internet:
    """Takes posts, and answers as it is told."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    posts: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)

    async def post(
        self, method: str, url: str, *, cap: int, seconds: float, body: bytes = b"", headers: Mapping[str, str]
    ) -> Response:
        await trio.lowlevel.checkpoint()
        self.posts.append((f"{method} {url}", body, headers))
        if self.failure is not None:
            raise FetchError(Failure.UNREACHABLE, self.failure)
        return Response(self.status, self.headers, b"")


def webhook(internet: Internet) -> Webhook:
    return Webhook("https://hooks.example/x", SECRET, internet.post, SystemClock())


async def test_a_library_of_the_standard_verifies_what_is_posted() -> None:
    internet = Internet()
    await webhook(internet).deliver([letter(text="größer")])
    [(_, body, headers)] = internet.posts
    verified = Receiver("whsec_" + b64encode(SECRET).decode()).verify(body, dict(headers))
    assert verified["data"]["text"] == "größer"


async def test_a_library_of_the_standard_refuses_what_was_changed() -> None:
    internet = Internet()
    await webhook(internet).deliver([letter()])
    [(_, body, headers)] = internet.posts
    with pytest.raises(Exception, match="signature"):
        Receiver("whsec_" + b64encode(SECRET).decode()).verify(body.replace(b"raised", b"clears"), dict(headers))


@pytest.mark.parametrize(
    ("status", "headers", "asked"),
    [
        (500, {}, None),
        (302, {}, None),
        (410, {}, None),
        (429, {"retry-after": "7"}, 7.0),
        (503, {"retry-after": "x"}, None),
    ],
)
async def test_only_success_means_that_it_was_taken(status: int, headers: dict[str, str], asked: float | None) -> None:
    with pytest.raises(Undelivered, match=str(status)) as caught:
        await webhook(Internet(status, headers)).deliver([letter()])
    assert caught.value.retry_after == asked


async def test_a_receiver_that_cannot_be_reached_has_taken_nothing() -> None:
    with pytest.raises(Undelivered, match="reached"):
        await webhook(Internet(failure="the server cannot be reached")).deliver([letter()])


# Programs.


async def run(command: Sequence[str], one: Letter, seconds: float = 20.0) -> None:
    await Hook(command, seconds).deliver([one])


async def test_a_program_is_given_the_letter_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "secret")
    script = f"cat > {tmp_path}/in; env > {tmp_path}/env"
    await run(["/bin/sh", "-c", script], letter())
    assert msgspec.json.decode((tmp_path / "in").read_bytes())["id"] == letter().id
    environment = (tmp_path / "env").read_text()
    assert f"SAMEVIEW_NOTICE_ID={letter().id}" in environment
    assert "SMTP_PASSWORD" not in environment


async def test_a_program_need_not_read() -> None:
    await run(["/bin/true"], letter(text="x" * 60_000))


@pytest.mark.parametrize(
    ("command", "reason"),
    [(["/bin/sh", "-c", "exit 3"], "code 3"), (["/nowhere/at/all"], "started"), (["/"], "started")],
)
async def test_a_program_that_fails_has_not_taken_it(command: list[str], reason: str) -> None:
    with pytest.raises(Undelivered, match=reason):
        await run(command, letter())


async def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(Undelivered, match="not done"):
        await run(["/bin/sh", "-c", script], letter(), seconds=0.5)
    child = int((tmp_path / "child").read_text())
    with trio.fail_after(10):
        while _runs(child):  # noqa: ASYNC110  # the kernel tells nobody
            await trio.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


# Standard output.


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the program that is left running
async def test_a_program_that_became_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def may_not(_group: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", may_not)
    with pytest.raises(Undelivered, match="not done"):
        await Hook(["sleep", "2"], 0.05).deliver([letter()])


async def test_lines_are_written_whole() -> None:
    reader, writer = os.pipe()
    await Output(writer).deliver([letter(1), letter(2)])
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert [msgspec.json.decode(line)["id"] for line in pipe] == [letter(1).id, letter(2).id]


async def test_an_output_that_is_gone_has_taken_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(Undelivered, match="cannot be written"):
        await Output(writer).deliver([letter()])
    os.close(writer)


# Mail.


@dataclass
class Inbox:
    """A mail server's handler, which keeps what it is brought, and answers as it is told."""

    answer: str = "250 OK"
    recipient: str = "250 OK"
    mails: list[Envelope] = field(default_factory=list)

    async def handle_RCPT(  # the library calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            self.mails.append(envelope)
        return self.answer


@contextmanager
def mail_server(inbox: Inbox, **options: Any) -> Iterator[Mailbox]:
    controller = Controller(inbox, hostname="127.0.0.1", port=0, **options)
    # The library asks its own port whether it is up before it knows which one it was given.
    controller.port = free_port()
    controller.start()
    try:
        yield Mailbox("127.0.0.1", controller.port, Encryption.NONE, "monitor@m.example", "auditor@a.example")
    finally:
        controller.stop()


def parsed(envelope: Envelope) -> email.message.EmailMessage:
    content = envelope.content
    assert isinstance(content, bytes)
    return email.message_from_bytes(content, policy=email.policy.default)


async def send(mailbox: Mailbox, *letters: Letter) -> None:
    await Mail(mailbox).deliver(letters)


async def test_a_mail_about_a_match_brings_the_proof_and_the_entry() -> None:
    inbox = Inbox()
    with mail_server(inbox) as mailbox:
        await send(mailbox, match(7))
    [envelope] = inbox.mails
    mail = parsed(envelope)
    attached = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert (envelope.rcpt_tos, mail["subject"]) == (
        ["auditor@a.example"],
        "[sameview] match: the watch w found entry 7",
    )
    assert attached == {"7.tlog-proof": b"c2sp.org/tlog-proof@v1\nindex 0\n", "7.entry": b"entry \xff"}
    body = mail.get_body()
    assert body is not None
    assert "sameview verify proof 7.tlog-proof --entry 7.entry" in body.get_content()


def mail_of(*letters: Letter) -> email.message.EmailMessage:
    mailbox = Mailbox("h", 25, Encryption.NONE, "monitor@m.example", "auditor@a.example")
    return email.message_from_bytes(compose(mailbox, letters), policy=email.policy.default)


def test_a_self_check_is_written_for_people() -> None:
    works, fails = (StoredChannel(name, 1, 1, 0, None, "", None) for name in ("mail", "pager"))
    fails = replace(fails, failing_since_ms=1_699_999_000_000)
    health = Health([ChannelState(works, 0), ChannelState(fails, 3)], [], {ORIGIN: 5})
    check = daily(health, 1_700_000_000_000)
    body = mail_of(Letter(1, check.topic, check.key, check.body, check.at_ms, 1, "m")).get_body()
    assert body is not None
    lines = body.get_content().splitlines()
    assert "  ok: no" in lines
    assert "  channel mail: 0 waiting, works" in lines
    assert "  channel pager: 3 waiting, has failed since 2023-11-14 21:56:40 UTC" in lines
    assert not [line for line in lines if "{" in line or "_ms" in line]


def test_a_moment_is_a_date_in_a_mail() -> None:
    body = mail_of(letter(since_ms=1_699_999_000_000, proof=False, proven=True)).get_body()
    assert body is not None
    assert {"  since: 2023-11-14 21:56:40 UTC", "  proven: yes"} <= {*body.get_content().splitlines()}


def test_many_letters_are_one_mail() -> None:
    mail = mail_of(letter(1), letter(2), match(3), letter(4, Topic.HEALTH, text="all is well"))
    assert mail["subject"] == "[sameview] 2 alarms, 1 match, 1 self-check"
    assert len(list(mail.iter_attachments())) == 2


def test_what_others_wrote_adds_no_header_and_no_line() -> None:
    mail = mail_of(letter(subject="x\r\nBcc: victim@v.example\r\n\r\n<b>"))
    body = mail.get_body()
    assert mail["bcc"] is None
    assert body is not None
    assert "\nBcc" not in body.get_content()


def test_what_may_have_arrived_before_says_so() -> None:
    mail = mail_of(letter(attempt=2))
    body = mail.get_body()
    assert mail["subject"].endswith("(again)")
    assert body is not None
    assert "may have reached you before" in body.get_content()


def test_a_mail_brings_no_more_than_a_megabyte() -> None:
    large = [match(number, proof="p" * 100_000, entry="") for number in range(20)]
    assert len(list(mail_of(*large).iter_attachments())) == 10


def test_a_match_without_attachments_is_a_mail_too() -> None:
    one = letter(3, Topic.MATCH, text="large", match=3)
    assert list(mail_of(one).iter_attachments()) == []


@pytest.mark.parametrize(
    ("inbox", "reason"),
    [(Inbox(answer="452 full"), "452"), (Inbox(answer="550 no"), "550"), (Inbox(recipient="551 nobody"), "551")],
)
async def test_a_mail_that_the_server_refuses_was_not_delivered(inbox: Inbox, reason: str) -> None:
    with mail_server(inbox) as mailbox, pytest.raises(Undelivered, match=reason):
        await send(mailbox, letter())


async def test_a_server_that_is_not_there_has_taken_nothing() -> None:
    mailbox = Mailbox("127.0.0.1", free_port(), Encryption.NONE, "monitor@m.example", "auditor@a.example")
    said = f"nothing listens at 127.0.0.1:{mailbox.port}: start the mail server, or correct `host` and `port`"
    with pytest.raises(Undelivered, match=said):
        await send(mailbox, letter())


async def test_a_server_whose_name_is_not_known_has_taken_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> socket.socket:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    mailbox = Mailbox("mail.example", 25, Encryption.NONE, "monitor@m.example", "auditor@a.example")
    with pytest.raises(Undelivered, match="name is not known here: correct `host`"):
        await send(mailbox, letter())


@pytest.mark.parametrize(
    "odd", [{"host": "a..b"}, {"username": "u", "password": "p\N{LATIN SMALL LETTER A WITH DIAERESIS}ss"}]
)
async def test_what_the_mail_library_cannot_say_was_not_delivered(odd: dict[str, Any]) -> None:
    with mail_server(Inbox(), auth_require_tls=False) as box, pytest.raises(Undelivered, match="`username`"):
        await send(replace(box, **odd), letter())


async def test_a_server_that_says_nothing_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.delivery.mail.MAIL_SECONDS", 0.3)
    async with _silent() as port:
        mailbox = Mailbox("127.0.0.1", port, Encryption.NONE, "monitor@m.example", "auditor@a.example")
        with pytest.raises(Undelivered, match="not done"):
            await send(mailbox, letter())


@asynccontextmanager
async def _silent() -> AsyncIterator[int]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener.socket.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.fromtimestamp(SystemClock().now(), UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"user", b"password")
    return AuthResult(success=right, handled=False)


async def test_mail_is_encrypted_and_the_password_is_sent_inside(certificate: Path) -> None:
    inbox = Inbox()
    options: dict[str, Any] = {
        "tls_context": server_context(certificate),
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticate,
        "auth_exclude_mechanism": ["LOGIN"],
    }
    with mail_server(inbox, **options) as plain:
        mailbox = replace(plain, encryption=Encryption.STARTTLS, username="user", ca_file=str(certificate))
        await send(replace(mailbox, password="password"), letter())
        with pytest.raises(Undelivered, match="535"):
            await send(replace(mailbox, password="wrong"), letter())
    assert len(inbox.mails) == 1


async def test_a_server_without_encryption_is_not_used(certificate: Path) -> None:
    with mail_server(Inbox()) as plain, pytest.raises(Undelivered, match="cannot be used"):
        await send(replace(plain, encryption=Encryption.STARTTLS), letter())


# The server of the test forgets its socket when the handshake fails, and the garbage collector says so some time.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_whose_certificate_nobody_vouches_for_is_not_used(certificate: Path) -> None:
    refused = pytest.raises(Undelivered, match="certificate")
    with mail_server(Inbox(), tls_context=server_context(certificate)) as plain, refused:
        await send(replace(plain, encryption=Encryption.STARTTLS), letter())
    gc.collect()  # now, and not in another test


async def test_a_server_may_be_encrypted_from_the_first_byte(certificate: Path) -> None:
    inbox = Inbox()
    with mail_server(inbox, ssl_context=server_context(certificate)) as plain:
        await send(replace(plain, encryption=Encryption.TLS, ca_file=str(certificate)), letter())
    assert len(inbox.mails) == 1


# Configuration.

MAIL = {"host": "127.0.0.1", "encryption": "none", "sender": "a@m.example", "to": "b@m.example"}
GOOD_SECRET = "whsec_" + b64encode(SECRET).decode()


def read(folder: Path, type: str, **keys: object) -> object:
    entry = msgspec.convert({"name": "n", "type": type, **keys}, DeliverConfig)
    [recipient] = read_recipients(folder / "monitor.toml", [entry])
    return recipient


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "good": GOOD_SECRET,
        "bad": "whsec_short",
        "bare": b64encode(SECRET).decode(),
        "empty": "\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "binary").chmod(0o600)
    (tmp_path / "open").write_text(GOOD_SECRET)
    (tmp_path / "open").chmod(0o644)
    return tmp_path


@pytest.mark.parametrize(
    ("type", "keys", "channel"),
    [
        ("webhook", {"url": "https://h.example/x", "secret_file": "good"}, Webhook),
        ("webhook", {"url": "http://127.0.0.1:80/x", "secret_env": "HOOK_SECRET"}, Webhook),
        ("email", MAIL, Mail),
        ("email", {**MAIL, "host": "mail.example", "encryption": "", "username": "u", "password_file": "good"}, Mail),
        ("email", {**MAIL, "encryption": "tls", "ca_file": "ca.pem", "about": ["match"]}, Mail),
        ("exec", {"command": ["./hook", "x"]}, Hook),
        ("exec", {"command": ["logger"], "timeout": 5.0}, Hook),
        ("stdout", {}, Output),
    ],
)
def test_each_way_is_configured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, type: str, keys: dict[str, object], channel: type[Channel]
) -> None:
    monkeypatch.setenv("HOOK_SECRET", GOOD_SECRET)
    recipient = read(folder, type, **keys)
    assert isinstance(recipient, delivery_config.Recipient)
    assert isinstance(recipient.open(Internet().post, SystemClock()), channel)


@pytest.mark.parametrize(
    ("type", "keys", "named"),
    [
        ("pigeon", {}, "`type`"),
        ("stdout", {"name": ""}, "`name`"),
        ("stdout", {"name": "a\nb"}, "`name`"),
        ("stdout", {"about": []}, "`about`"),
        ("stdout", {"about": ["rumours"]}, "`about`"),
        ("stdout", {"url": "https://h.example"}, "`url`"),
        ("webhook", {"secret_file": "good"}, "`url`"),
        ("webhook", {"url": "ftp://h.example", "secret_file": "good"}, "`url`"),
        ("webhook", {"url": "http://h.example/", "secret_file": "good"}, "https"),
        ("webhook", {"url": "https://h.example/"}, "`secret_file`"),
        ("webhook", {"url": "https://h.example/", "secret_file": "good", "secret_env": "X"}, "`secret_file`"),
        ("webhook", {"url": "https://h.example/", "secret_env": "NOT_THERE"}, "`secret_env`"),
        ("webhook", {"url": "https://h.example/", "secret_file": "missing"}, "`secret_file`"),
        ("webhook", {"url": "https://h.example/", "secret_file": "open"}, "chmod 600"),
        ("webhook", {"url": "https://h.example/", "secret_file": "bad"}, "openssl"),
        ("webhook", {"url": "https://h.example/", "secret_file": "bare"}, "openssl"),
        ("webhook", {"url": "https://h.example/", "secret_file": "empty"}, "one line"),
        ("webhook", {"url": "https://h.example/", "secret_file": "binary"}, "one line"),
        ("email", {**MAIL, "host": ""}, "`host`"),
        ("email", {**MAIL, "host": "mail.example"}, "on this machine"),
        ("email", {**MAIL, "encryption": "rot13"}, "`encryption`"),
        ("email", {**MAIL, "to": "nobody"}, "`to`"),
        ("email", {**MAIL, "to": "a@b.example, c@d.example"}, "`to`"),
        ("email", {**MAIL, "sender": "a@b.example\nBcc: x"}, "`sender`"),
        ("email", {**MAIL, "port": 70_000}, "`port`"),
        ("email", {**MAIL, "username": "u", "password_file": "good"}, "`username`"),
        ("email", {**MAIL, "encryption": "tls", "username": "u"}, "`password_file`"),
        ("email", {**MAIL, "password_file": "good"}, "`username`"),
        ("exec", {}, "`command`"),
        ("exec", {"command": ["a\0b"]}, "`command`"),
        ("exec", {"command": ["a"], "timeout": -1.0}, "`timeout`"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, type: str, keys: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=r"number 1.*") as caught:
        read(folder, type, **keys)
    assert named in str(caught.value)


def test_two_channels_of_one_name_are_refused(folder: Path) -> None:
    entry = DeliverConfig(name="n", type="stdout")
    with pytest.raises(UsageError, match="number 2"):
        read_recipients(folder / "monitor.toml", [entry, entry])
