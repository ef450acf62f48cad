"""The monitor's configuration file (TOML), as one frozen value.

The policy names the logs' keys, the witnesses and the quorum. A ``[[log]]`` may bring a policy of its own, and keys of
its own where a policy cannot name them, because a log's key is not called as its origin is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gossip.core import Log
from gossip.core.links import LINKS
from gossip.shell import Peer
from gossip.testimony import MAX_VANTAGE_BYTES
from monitor.arithmetic import require_claim
from monitor.delivery import DeliverConfig, Recipient, read_recipients
from monitor.kinds import Kind, parse_kind, parse_start, published_keys, require_names, require_vouchers
from monitor.limits import AlarmLimits, ArchiveLimits
from monitor.watchlist import ListedWatch, WatchConfig, read_watches
from runtime.address import check_addresses
from runtime.config import load, read_named, resolve
from runtime.errors import UsageError
from runtime.keyfiles import read_signer_key
from tlog.errors import FormatError
from tlog.evidence import is_log_key
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.policy import MAX_POLICY_BYTES, Policy
from tlog.text import is_key_name, parse_origin
from tlog.trust import Trust

OBSERVER_KEY_TYPES = frozenset({KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44})
LOG_KEY_TYPES = frozenset(KeyType) - {KeyType.COSIGNATURE_ED25519}
MIN_INTERVAL = 0.05  # seconds: below it a test would only measure its own polling
MIN_UNSERVED = 1.0  # seconds: less is a slow log, not one that withholds
MAX_UNSERVED = 30 * 86_400.0
MAX_CADENCE = 30 * 86_400.0
PARALLEL = 8  # requests at once to one log: on a fast link eight under way keep a core hashing
MAX_PARALLEL = 64  # of 128 connections to all servers together
MAX_LINKS = 64  # of 128 connections to all servers together; what exceeds eight or twelve links only costs
EVIDENCE_PATH = "/v1/evidence"
CONFLICTS_PATH = "/v1/conflicts"


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[log]]`` to follow."""

    origin: str
    url: str
    kind: str = "tiles"
    vkeys: list[str] = []
    public_keys: list[str] = []
    policy: str = ""
    start: int | str = 0
    cadence: float = 0.0
    growth: float = 0.0
    vantage_url: str = ""
    vantage_proxy: str = ""
    distributor: str = ""
    parallel: int = PARALLEL
    requests_per_second: float = 0.0


class WitnessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[witness]]``: where a witness of the policy shows its heads and those it refused, and takes evidence.

    Strangers are shown those heads without the notes; ``conflicts_url``, the witness's operator listener, shows both.
    """

    name: str
    monitoring_url: str
    conflicts_url: str | None = None


class PeerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[peer]]``: another monitor that may talk to this one."""

    name: str
    vkey: str
    url: str | None = None
    observer: str | None = None
    operator: str = ""
    anchor: bool = False


class MonitorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``monitor.toml``."""

    name: str
    listen: str = "127.0.0.1:8082"
    operator_listen: str | None = "127.0.0.1:8092"
    data: str
    register: str
    peer_key: str
    observer_key: str
    policy: str
    liars: int = 0
    mirror_bytes: int = 4 * 1024**3
    poll_interval: float = 10.0
    witness_interval: float = 60.0
    audit_interval: float = 60.0
    gossip_interval: float = 10.0
    unserved_seconds: float = 600.0
    vantage: str = ""
    links: int = LINKS
    reachable: bool = True
    alarms: AlarmLimits = AlarmLimits()
    archive: ArchiveLimits = ArchiveLimits()
    log: list[LogConfig] = []
    witness: list[WitnessConfig] = []
    peer: list[PeerConfig] = []
    watch: list[WatchConfig] = []
    deliver: list[DeliverConfig] = []


@dataclass(frozen=True, slots=True)
class Vantage:
    """A second way to a log: its address there, and the HTTP proxy that leads to it, if one does."""

    url: str
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """A log with the place where it serves its tiles.

    ``cadence`` is how many seconds apart it promises new or newly signed checkpoints, ``growth`` how many entries a
    day are usual; 0 where nobody says.
    """

    log: Log
    url: str
    kind: Kind = Kind.TILES
    start: int | None = 0
    """How many entries are taken as read; None where observers have to vouch for a head."""
    cadence: float = 0.0
    growth: float = 0.0
    vantage: Vantage | None = None
    distributor: str = ""
    """The URL of a service that hands out what witnesses cosigned of this log, if one is asked."""
    parallel: int = PARALLEL
    """How many requests may be under way at once."""
    requests_per_second: float = 0.0
    """How many requests may begin in a second; 0 for any number."""


@dataclass(frozen=True, slots=True)
class NamedPeer:
    """A peer with what the configuration says of it."""

    name: str
    peer: Peer
    observer: VerifierKey | None
    operator: str
    anchor: bool


@dataclass(frozen=True, slots=True)
class NamedWitness:
    """A witness of a policy: where it takes evidence, lists what it refused, and shows its heads; and its logs."""

    name: str
    evidence_url: str
    conflicts_url: str
    origins: frozenset[bytes]
    monitoring_url: str = ""


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """The configuration, checked: paths resolved, keys read, policies parsed."""

    name: str
    listen: str
    operator_listen: str | None
    data: Path
    register: Path
    peer_key: SignerKey
    observer_key: SignerKey
    mirror_bytes: int
    poll_interval: float
    gossip_interval: float
    reachable: bool
    logs: tuple[WatchedLog, ...]
    peers: tuple[NamedPeer, ...]
    witnesses: tuple[NamedWitness, ...] = ()
    unserved_seconds: float = 600.0
    vantage: str = ""
    links: int = LINKS
    liars: int = 0
    witness_interval: float = 60.0
    audit_interval: float = 60.0
    alarms: AlarmLimits = field(default_factory=AlarmLimits)
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    watches: tuple[ListedWatch, ...] = ()
    recipients: tuple[Recipient, ...] = ()


def read_settings(path: Path) -> MonitorSettings:
    """Read and check a configuration file.

    Raises:
        UsageError: naming the file, the key and what to do.
    """
    config = load(path, MonitorConfig)
    peer_key = read_signer_key(resolve(path, config.peer_key))
    observer_key = read_signer_key(resolve(path, config.observer_key))
    _check_numbers(path, config)
    check_addresses(path, config.listen, config.operator_listen)
    _check_own_keys(path, config, peer_key, observer_key)
    policy = _read_policy(path, "`policy`", config.policy)
    data, register = resolve(path, config.data), resolve(path, config.register)
    if register.is_relative_to(data) or data.is_relative_to(register):
        # A backup of one would bring the other along, and a restored monitor would contradict what it signed since.
        raise UsageError(f"{path}: `register` and `data` must be apart, best on different disks")
    logs = _logs(path, config, policy, observer_key.verifier_key)
    peers = _peers(path, config, peer_key.verifier_key)
    _check_roles(path, logs, (observer_key.verifier_key, *observers_of(peers)))
    return MonitorSettings(
        name=config.name,
        listen=config.listen,
        operator_listen=config.operator_listen,
        data=data,
        register=register,
        peer_key=peer_key,
        observer_key=observer_key,
        mirror_bytes=config.mirror_bytes,
        poll_interval=config.poll_interval,
        gossip_interval=config.gossip_interval,
        reachable=config.reachable,
        logs=logs,
        peers=peers,
        witnesses=_witnesses(path, config, policy, logs),
        unserved_seconds=config.unserved_seconds,
        vantage=config.vantage,
        links=config.links,
        liars=config.liars,
        witness_interval=config.witness_interval,
        audit_interval=config.audit_interval,
        alarms=config.alarms,
        archive=config.archive,
        watches=read_watches(path, config.watch, {one.log.origin: one.kind for one in logs}),
        recipients=read_recipients(path, config.deliver),
    )


def _check_own_keys(path: Path, config: MonitorConfig, peer: SignerKey, observer: SignerKey) -> None:
    if peer.type is not KeyType.ED25519:
        raise UsageError(
            f"{path}: `peer_key`: {config.peer_key} is not a peer key: make one with `sameview keygen --type peer`"
        )
    if observer.type not in OBSERVER_KEY_TYPES:
        raise UsageError(
            f"{path}: `observer_key`: {config.observer_key} is not an observer key: "
            "make one with `sameview keygen --type observer`"
        )
    # Peers and readers know the monitor by what its peer key bears: another name here would be one nobody else sees.
    if peer.name != config.name:
        raise UsageError(
            f"{path}: `peer_key`: {config.peer_key} is named {peer.name}, the monitor {config.name}: "
            "they must be the same"
        )


def _check_numbers(path: Path, config: MonitorConfig) -> None:
    intervals = {
        "poll_interval": config.poll_interval,
        "witness_interval": config.witness_interval,
        "audit_interval": config.audit_interval,
        "gossip_interval": config.gossip_interval,
    }
    for name, seconds in intervals.items():
        if not MIN_INTERVAL <= seconds <= 86_400:
            raise UsageError(f"{path}: `{name}` is not between {MIN_INTERVAL:g} seconds and a day")
    if not MIN_UNSERVED <= config.unserved_seconds <= MAX_UNSERVED:
        raise UsageError(f"{path}: `unserved_seconds` is not between {MIN_UNSERVED:g} seconds and 30 days")
    if not 1 <= config.links <= MAX_LINKS:
        raise UsageError(f"{path}: `links` is not between 1 and {MAX_LINKS}")
    for table, fault in (("alarms", config.alarms.fault()), ("archive", config.archive.fault())):
        if fault is not None:
            raise UsageError(f"{path}: `{fault}` in `[{table}]` is too small or too large")
    _check_vantage(path, config.vantage)
    if config.mirror_bytes < 0 or config.liars < 0:
        raise UsageError(f"{path}: `mirror_bytes` and `liars` cannot be negative")
    if not is_key_name(config.name):
        raise UsageError(f"{path}: `name` is empty or contains a space or a plus sign")


def _check_vantage(path: Path, vantage: str) -> None:
    if vantage == "-" or not vantage.isprintable() or len(vantage.encode()) > MAX_VANTAGE_BYTES:
        raise UsageError(
            f"{path}: `vantage` is printed in testimony: at most {MAX_VANTAGE_BYTES} bytes on one line, or nothing"
        )


def _witnesses(
    path: Path, config: MonitorConfig, policy: Policy, logs: Sequence[WatchedLog]
) -> tuple[NamedWitness, ...]:
    witnesses: dict[str, NamedWitness] = {}
    for number, entry in enumerate(config.witness, 1):
        where = f"{path}: [[witness]] number {number}"
        origins = {watched.log.id for watched in logs if entry.name in _witness_names(watched.log.policy)}
        if not origins and entry.name not in _witness_names(policy):
            raise UsageError(f"{where}: the policy has no witness of this `name`")
        if entry.name in witnesses:
            raise UsageError(f"{where}: there is an earlier [[witness]] of this `name`")
        url = _checked_url(f"{where}: `monitoring_url`", entry.monitoring_url)
        conflicts = (
            url if entry.conflicts_url is None else _checked_url(f"{where}: `conflicts_url`", entry.conflicts_url)
        )
        witnesses[entry.name] = NamedWitness(
            entry.name, f"{url}{EVIDENCE_PATH}", f"{conflicts}{CONFLICTS_PATH}", frozenset(origins), url
        )
    return tuple(witnesses.values())


def _witness_names(policy: Policy) -> set[str]:
    return {witness.name for witness in policy.witnesses}


def _logs(path: Path, config: MonitorConfig, policy: Policy, observer: VerifierKey) -> tuple[WatchedLog, ...]:
    logs: dict[str, WatchedLog] = {}
    for number, entry in enumerate(config.log, 1):
        where = f"{path}: [[log]] number {number}"
        watched = _log(path, where, config, entry, policy)
        require_claim(where, watched.log.policy, config.liars)
        if watched.log.origin in logs:
            raise UsageError(f"{where}: there is an earlier [[log]] of this origin; give all its keys in one")
        for key in (*watched.log.keys, *watched.log.policy.witness_keys):
            if key.public_key == observer.public_key:
                raise UsageError(f"{where}: `observer_key` is also a key of the log or of a witness: make a new one")
        logs[watched.log.origin] = watched
    if not logs:
        raise UsageError(f"{path}: there is no [[log]]: a monitor follows at least one")
    return tuple(logs.values())


def _log(path: Path, where: str, config: MonitorConfig, entry: LogConfig, policy: Policy) -> WatchedLog:
    kind = parse_kind(where, entry.kind)
    try:
        origin = parse_origin(entry.origin.encode())
    except FormatError as error:
        raise UsageError(f"{where}: `origin`: {error}") from None
    own = _read_policy(path, f"{where}: `policy`", entry.policy) if entry.policy else policy
    keys = (
        *own.log_keys(origin),
        *(_vkey(f"{where}: `vkeys`", vkey, LOG_KEY_TYPES) for vkey in entry.vkeys),
        *published_keys(where, kind, origin, entry.public_keys),
    )
    if not keys:
        raise UsageError(f"{where}: the policy names no key of this origin: add a log line to it, or `vkeys` here")
    if not all(is_log_key(key, origin) for key in keys):
        raise UsageError(f"{where}: an ML-DSA-44 key has to bear the origin as its name: no evidence could accuse it")
    require_names(where, origin, keys)
    start = parse_start(where, entry.start)
    require_vouchers(where, start, [peer.operator for peer in config.peer if peer.observer], config.liars)
    log = Log(origin, tuple(dict.fromkeys(keys)), own)
    if not (0 <= entry.cadence <= MAX_CADENCE and entry.growth >= 0):
        raise UsageError(f"{where}: `cadence` is more than 30 days, or it or `growth` is negative")
    if not (1 <= entry.parallel <= MAX_PARALLEL and entry.requests_per_second >= 0):
        raise UsageError(f"{where}: `parallel` is not 1 to {MAX_PARALLEL}, or `requests_per_second` is negative")
    url = _log_url(f"{where}: `url`", entry.url)
    vantage = _vantage(where, entry, url)
    distributor = _checked_url(f"{where}: `distributor`", entry.distributor) if entry.distributor else ""
    budget = entry.parallel, entry.requests_per_second
    return WatchedLog(log, url, kind, start, entry.cadence, entry.growth, vantage, distributor, *budget)


def _vantage(where: str, entry: LogConfig, url: str) -> Vantage | None:
    if not entry.vantage_url and not entry.vantage_proxy:
        return None
    proxy = _checked_url(f"{where}: `vantage_proxy`", entry.vantage_proxy) if entry.vantage_proxy else ""
    other = _checked_url(f"{where}: `vantage_url`", entry.vantage_url) if entry.vantage_url else url
    if other == url and not proxy:
        raise UsageError(f"{where}: `vantage_url` is the same as `url`: name another address, or a `vantage_proxy`")
    return Vantage(other, proxy)


def _peers(path: Path, config: MonitorConfig, own: VerifierKey) -> tuple[NamedPeer, ...]:
    peers: dict[bytes, NamedPeer] = {}
    for number, entry in enumerate(config.peer, 1):
        where = f"{path}: [[peer]] number {number}"
        key = _vkey(f"{where}: `vkey`", entry.vkey, {KeyType.ED25519})
        if key == own:
            raise UsageError(f"{where}: this is the monitor's own key: list the other monitors only")
        observer = None
        if entry.observer is not None:
            observer = _vkey(f"{where}: `observer`", entry.observer, OBSERVER_KEY_TYPES)
        url = None if entry.url is None else _checked_url(f"{where}: `url`", entry.url)
        peer = Peer(key, url)
        if peer.id in peers:
            raise UsageError(f"{where}: there is an earlier [[peer]] with this key")
        peers[peer.id] = NamedPeer(entry.name, peer, observer, entry.operator, entry.anchor)
    return tuple(peers.values())


def _check_roles(path: Path, logs: Sequence[WatchedLog], observers: Sequence[VerifierKey]) -> None:
    """Refuse keys of which nobody could tell whose signature it is, or in which role it was made."""
    for log in (watched.log for watched in logs):
        if any(key.name == log.origin for key in observers):
            raise UsageError(f"{path}: an observer's key is named like the log {log.origin}: ask for another one")
        try:
            Trust((*log.keys, *log.policy.witness_keys, *observers))
        except ValueError as error:
            raise UsageError(f"{path}: {error}, about the log {log.origin}: find out whose key is right") from None
        # Who contradicts itself is disbelieved by its name: an observer could take the witness out of all quorums.
        witnesses = {key.name for key in log.policy.witness_keys if key not in observers}
        if any(key.name in witnesses for key in observers):
            raise UsageError(f"{path}: an observer's key is named like a witness of {log.origin}: ask for another one")


def _vkey(where: str, text: str, types: "frozenset[KeyType] | set[KeyType]") -> VerifierKey:
    try:
        key = VerifierKey.parse(text)
    except FormatError as error:
        raise UsageError(f"{where}: {error}") from None
    if key.type not in types:
        raise UsageError(f"{where}: a key of this type is for something else")
    return key


def _read_policy(path: Path, where: str, name: str) -> Policy:
    data = read_named(path, where, name, MAX_POLICY_BYTES, "a policy")
    try:
        return Policy.parse(data)
    except FormatError as error:
        raise UsageError(f"{where}: {resolve(path, name)}: {error}") from None


def _checked_url(where: str, url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("http", "https") or not rest or not url.isascii() or not url.isprintable():
        raise UsageError(f"{where} is not a URL that begins with http:// or https://")
    return url.rstrip("/")


def _log_url(where: str, url: str) -> str:
    """Check where a log is read from; that may also be a folder with a copy of it."""
    if not url.startswith("file:"):
        return _checked_url(where, url)
    if not url.startswith("file:///") or not url.isascii() or not url.isprintable():
        raise UsageError(f"{where} is not a URL like file:///srv/copy-of-the-log, with escapes for other than ASCII")
    return url.rstrip("/")


def observers_of(peers: Sequence[NamedPeer]) -> tuple[VerifierKey, ...]:
    """List the keys under which the peers state what they see."""
    return tuple(named.observer for named in peers if named.observer is not None)
