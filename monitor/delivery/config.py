"""The tables ``[[deliver]]`` of the configuration: who is told what, and how. No secret stands in them."""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from monitor.delivery.channel import Channel, Post
from monitor.delivery.hook import Hook
from monitor.delivery.mail import Encryption, Mail, Mailbox
from monitor.delivery.output import Output
from monitor.delivery.webhook import Webhook
from monitor.notice import Topic
from runtime.clock import Clock
from runtime.config import check_label, resolve
from runtime.errors import UsageError
from tlog.errors import FormatError
from tlog.text import decode_base64

MAX_SECRET_BYTES = 4096
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64  # of a web hook's secret, as Standard Webhooks says
MAX_HOOK_SECONDS = 3600.0
SECRET_PREFIX = "whsec_"  # noqa: S105  # what Standard Webhooks begins secrets with

_PORTS = {Encryption.STARTTLS: 587, Encryption.TLS: 465, Encryption.NONE: 25}
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")  # no quoted ones
_KEYS = {
    "webhook": {"url", "secret_file", "secret_env"},
    "email": {
        "host",
        "port",
        "encryption",
        "sender",
        "to",
        "username",
        "password_file",
        "password_env",
        "ca_file",
    },
    "exec": {"command", "timeout"},
    "stdout": set[str](),
}


class DeliverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[deliver]]``."""

    name: str
    type: str
    about: tuple[str, ...] = ("alarm", "match", "health")
    url: str = ""
    secret_file: str = ""
    secret_env: str = ""
    host: str = ""
    port: int = 0
    encryption: str = ""
    sender: str = ""
    to: str = ""
    username: str = ""
    password_file: str = ""
    password_env: str = ""
    ca_file: str = ""
    command: list[str] = []
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where to post, and the secret that signs."""

    url: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class HookSettings:
    """What to run, and for how long at most."""

    command: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class StdoutSettings:
    """Nothing is to be said about it."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who is told something, and how."""

    name: str
    type: str
    about: tuple[Topic, ...]
    how: WebhookSettings | Mailbox | HookSettings | StdoutSettings

    def open(self, post: Post, clock: Clock) -> Channel:
        """Make the channel. Nothing is sent before there is something to tell."""
        match self.how:
            case WebhookSettings(url, secret):
                return Webhook(url, secret, post, clock)
            case Mailbox():
                return Mail(self.how)
            case HookSettings(command, seconds):
                return Hook(command, seconds)
            case StdoutSettings():
                return Output()


def read_recipients(path: Path, entries: Sequence[DeliverConfig]) -> tuple[Recipient, ...]:
    """Check who is told what, and read their secrets.

    Raises:
        UsageError: naming the file, the table and the key.
    """
    found: dict[str, Recipient] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}: [[deliver]] number {number}"
        check_label(where, entry.name)
        if entry.name in found:
            raise UsageError(f"{where}: there is an earlier [[deliver]] of this `name`")
        found[entry.name] = Recipient(entry.name, entry.type, _topics(where, entry), _how(path, where, entry))
    return tuple(found.values())


def _topics(where: str, entry: DeliverConfig) -> tuple[Topic, ...]:
    if not entry.about or any(topic not in {*Topic} for topic in entry.about):
        raise UsageError(f'{where}: `about` lists what to tell: "alarm", "match", "health", one of them at least')
    return tuple(topic for topic in Topic if topic in entry.about)


def _how(path: Path, where: str, entry: DeliverConfig) -> WebhookSettings | Mailbox | HookSettings | StdoutSettings:
    own = _KEYS.get(entry.type)
    if own is None:
        raise UsageError(f"{where}: `type` is one of {', '.join(_KEYS)}")
    for name in set[str]().union(*_KEYS.values()) - own:
        if getattr(entry, name):
            raise UsageError(f'{where}: `{name}` means nothing for `type = "{entry.type}"`: remove it')
    match entry.type:
        case "webhook":
            return _webhook(path, where, entry)
        case "email":
            return _mailbox(path, where, entry)
        case "exec":
            return _hook(path, where, entry)
        case _:
            return StdoutSettings()


def _webhook(path: Path, where: str, entry: DeliverConfig) -> WebhookSettings:
    scheme, _, rest = entry.url.partition("://")
    host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]
    if scheme not in ("http", "https") or not rest or not entry.url.isascii() or not entry.url.isprintable():
        raise UsageError(f"{where}: `url` is not a URL that begins with https://")
    if scheme == "http" and host.strip("[]") not in _LOCAL:
        raise UsageError(f"{where}: `url` leads to another machine: begin it with https://")
    text = _secret(path, where, "secret", entry.secret_file, entry.secret_env)
    try:
        secret = decode_base64(text.removeprefix(SECRET_PREFIX).encode(), "the secret")
    except FormatError:
        secret = b""
    if not text.startswith(SECRET_PREFIX) or not MIN_KEY_BYTES <= len(secret) <= MAX_KEY_BYTES:
        raise UsageError(f'{where}: the secret is not one: make it with `echo "whsec_$(openssl rand -base64 32)"`')
    return WebhookSettings(entry.url, secret)


def _mailbox(path: Path, where: str, entry: DeliverConfig) -> Mailbox:
    chosen = entry.encryption or Encryption.STARTTLS
    if chosen not in {*Encryption}:
        raise UsageError(f'{where}: `encryption` is "starttls", "tls" or "none"')
    encryption = Encryption(chosen)
    if not entry.host or not entry.host.isascii() or not entry.host.isprintable() or " " in entry.host:
        raise UsageError(f"{where}: `host` names no mail server")
    if encryption is Encryption.NONE and entry.host not in _LOCAL:
        raise UsageError(f'{where}: `encryption = "none"` is only for a mail server on this machine')
    for name, address in (("sender", entry.sender), ("to", entry.to)):
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{where}: `{name}` is not one mail address, such as auditor@example.com")
    if not 0 <= entry.port <= 65_535:
        raise UsageError(f"{where}: `port` is not between 1 and 65535")
    password = ""
    if entry.username:
        password = _secret(path, where, "password", entry.password_file, entry.password_env)
        if encryption is Encryption.NONE:
            raise UsageError(f"{where}: no password is sent without encryption: choose `encryption`, or no `username`")
    elif entry.password_file or entry.password_env:
        raise UsageError(f"{where}: there is a password and no `username`")
    ca_file = str(resolve(path, entry.ca_file)) if entry.ca_file else None
    port = entry.port or _PORTS[encryption]
    return Mailbox(entry.host, port, encryption, entry.sender, entry.to, entry.username, password, ca_file)


def _hook(path: Path, where: str, entry: DeliverConfig) -> HookSettings:
    if not entry.command or any("\0" in part for part in entry.command):
        raise UsageError(f'{where}: `command` names no program: write it as ["/path/to/program", "argument"]')
    seconds = entry.timeout or 30.0
    if not 0 < seconds <= MAX_HOOK_SECONDS:
        raise UsageError(f"{where}: `timeout` is not between 0 and {MAX_HOOK_SECONDS:g} seconds")
    program, *arguments = entry.command
    return HookSettings((str(resolve(path, program)) if "/" in program else program, *arguments), seconds)


def _secret(path: Path, where: str, what: str, file: str, variable: str) -> str:
    if bool(file) == bool(variable):
        raise UsageError(f"{where}: write `{what}_file` or `{what}_env`, one of them: where the {what} is")
    if variable:
        found = _environment().get(variable)
        if not found:
            raise UsageError(f"{where}: `{what}_env`: there is no such variable in the environment")
        return found.strip()
    return _read_secret(f"{where}: `{what}_file`", resolve(path, file))


def _environment() -> Mapping[str, str]:
    return os.environ


def _read_secret(where: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{where}: cannot read {file}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{where}: {file} can be read by others: run `chmod 600 {file}`")
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MAX_SECRET_BYTES or not text.isprintable():
        raise UsageError(f"{where}: {file} does not hold one line of text")
    return text
