"""The witness's configuration file (TOML), as one frozen value.

Logs named here are loaded at start and are the file's to change: nothing else alters their keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runtime.address import check_addresses
from runtime.config import load, resolve
from runtime.errors import UsageError
from runtime.keyfiles import read_signer_key
from tlog.errors import FormatError
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.log_list import MAX_QPD
from tlog.text import parse_origin

WITNESS_KEY_TYPES = frozenset({KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44})
LOG_KEY_TYPES = frozenset(KeyType) - {KeyType.COSIGNATURE_ED25519}
MAX_FEEDS = 100  # each holds one connection at a time, of the 128 that all share: none waits for another


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[log]]``: a key trusted for an origin. Several with one origin are several keys of that log."""

    vkey: str
    origin: str | None = None
    qpd: Annotated[int, msgspec.Meta(ge=1, le=MAX_QPD)] | None = None


class ListConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[list]]``: a log list that is pulled every day."""

    url: str


class FeedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[feed]]``: a log that does not know us, whose checkpoints we fetch."""

    origin: str
    url: str
    kind: Literal["tiles", "sumdb"] = "tiles"
    interval: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0


class WitnessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``witness.toml``."""

    name: str
    listen: str = "127.0.0.1:8081"
    operator_listen: str | None = "127.0.0.1:8091"
    data: str
    register: str
    keys: list[str]
    history_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 30
    peers: list[str] = []
    url: str | None = None
    log: list[LogConfig] = []
    feed: list[FeedConfig] = []
    lists: list[ListConfig] = msgspec.field(default_factory=list, name="list")


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """The configuration, checked: paths resolved, keys read, every log's keys parsed."""

    name: str
    listen: str
    operator_listen: str | None
    data: Path
    register: Path
    keys: tuple[SignerKey, ...]
    key_files: tuple[Path, ...]
    history_days: int
    peers: tuple[str, ...]
    """URLs below which somebody keeps our cosignatures: they are asked after the witness has moved."""
    url: str | None
    """Where others reach this witness. Asked like a peer, except that it need not answer."""
    logs: Mapping[str, tuple[VerifierKey, ...]]
    qpd: Mapping[str, int] = field(default_factory=dict)
    """How many requests a day are answered for a log of the file, where that is limited."""
    lists: tuple[str, ...] = ()
    """URLs of log lists."""
    feeds: tuple[FeedConfig, ...] = ()


def read_settings(path: Path) -> WitnessSettings:
    """Read and check a configuration file.

    Raises:
        UsageError: naming the file, the key and what to do.
    """
    config = load(path, WitnessConfig)
    check_addresses(path, config.listen, config.operator_listen)
    key_files = tuple(resolve(path, file) for file in config.keys)
    keys = tuple(map(read_signer_key, key_files))
    _check_keys(path, config, keys)
    _check_places(path, resolve(path, config.data), resolve(path, config.register))
    return WitnessSettings(
        name=config.name,
        listen=config.listen,
        operator_listen=config.operator_listen,
        data=resolve(path, config.data),
        register=resolve(path, config.register),
        keys=keys,
        key_files=key_files,
        history_days=config.history_days,
        peers=tuple(_url("peers", peer) for peer in config.peers),
        url=None if config.url is None else _url("url", config.url),
        logs=_logs(path, config, keys),
        qpd=_qpd(path, config),
        lists=tuple(_url("list", entry.url) for entry in config.lists),
        feeds=_feeds(path, config),
    )


def _check_keys(path: Path, config: WitnessConfig, keys: tuple[SignerKey, ...]) -> None:
    where = f"{path}: `keys`"
    if not keys:
        raise UsageError(f"{where} is empty: make one with `sameview keygen --type witness` and name its file")
    for file, key in zip(config.keys, keys, strict=True):
        if key.type not in WITNESS_KEY_TYPES:
            raise UsageError(f"{where}: {file} is not a witness key: make one with `sameview keygen --type witness`")
        if key.name != config.name:
            raise UsageError(f"{where}: {file} is named {key.name}, the witness {config.name}: they must be the same")
    if len({key.seed for key in keys}) != len(keys):
        raise UsageError(f"{where} names one key twice: name each once")
    if len({key.verifier_key.id for key in keys}) != len(keys):
        raise UsageError(f"{where}: two have the same key ID, and nobody could tell them apart: make another one")


def _check_places(path: Path, data: Path, register: Path) -> None:
    """A backup of the one must not bring back the other: together they look as if nothing had been restored."""
    if register.is_relative_to(data) or data.is_relative_to(register):
        raise UsageError(f"{path}: `register` and `data` must be apart, best on different disks")


def _url(key: str, url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"`{key}` names something that is not a URL: it begins with http:// or https://")
    return url.rstrip("/")


def _logs(path: Path, config: WitnessConfig, own: tuple[SignerKey, ...]) -> dict[str, tuple[VerifierKey, ...]]:
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    public_keys = {key.verifier_key.public_key for key in own}
    for number, entry in enumerate(config.log, 1):
        where = f"{path}: [[log]] number {number}"
        try:
            key = VerifierKey.parse(entry.vkey)
            origin = parse_origin((entry.origin or key.name).encode())
        except FormatError as error:
            raise UsageError(f"{where}: {error}") from None
        if key.type not in LOG_KEY_TYPES:
            raise UsageError(f"{where}: a witness's cosignature key cannot be a log's key")
        # A cosigner's name and keys must tell its role: one that is also a log could be quoted in the other role.
        if origin == config.name or key.name == config.name or key.public_key in public_keys:
            raise UsageError(f"{where}: a log must not have the witness's own name or key")
        if key in logs.get(origin, ()):
            raise UsageError(f"{where}: the same key is given twice for this origin")
        if any((other.name, other.id) == (key.name, key.id) for other in logs.get(origin, ())):
            raise UsageError(
                f"{where}: another key of this origin has the same name and key ID: the log needs a new one"
            )
        logs[origin] = (*logs.get(origin, ()), key)
    return logs


def _qpd(path: Path, config: WitnessConfig) -> dict[str, int]:
    limits: dict[str, int] = {}
    for number, entry in enumerate(config.log, 1):
        origin = entry.origin or entry.vkey.partition("+")[0]
        if entry.qpd is not None and limits.setdefault(origin, entry.qpd) != entry.qpd:
            raise UsageError(f"{path}: [[log]] number {number}: `qpd` is that of the log, say it once")
    return limits


def _feeds(path: Path, config: WitnessConfig) -> tuple[FeedConfig, ...]:
    if len(config.feed) > MAX_FEEDS:
        raise UsageError(f"{path}: more than {MAX_FEEDS} [[feed]]: let the other logs submit themselves")
    if len({feed.origin for feed in config.feed}) != len(config.feed):
        raise UsageError(f"{path}: two [[feed]] have the same `origin`: name each log once")
    for feed in config.feed:
        _url("feed", feed.url)
    return tuple(msgspec.structs.replace(feed, url=feed.url.rstrip("/")) for feed in config.feed)
