"""The log's configuration file (TOML), as one frozen value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from logserver.submitters import Submitter
from runtime.address import check_addresses
from runtime.config import load, read_named, resolve
from runtime.errors import UsageError
from runtime.keyfiles import read_signer_key
from runtime.objects import check_object_url
from tlog.errors import FormatError
from tlog.keys import KeyType, SignerKey
from tlog.policy import MAX_POLICY_BYTES, Policy
from tlog.text import parse_origin

LOG_KEY_TYPES = frozenset({KeyType.ED25519, KeyType.COSIGNATURE_MLDSA44})

PUBLIC_NAME = "public"
DATABASE_NAME = "log.sqlite"
MIN_INTERVAL = 0.01
MAX_INTERVAL = 86400.0

MissingQuorum = Literal["hold", "publish"]
Dedup = Literal["all", "recent", "off"]


PerSecond = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class SubmitterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[submitter]]``."""

    name: str
    token_sha256: str
    adds_per_second: PerSecond = 0.0


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log.toml``."""

    origin: str
    listen: str = "127.0.0.1:8080"
    operator_listen: str | None = "127.0.0.1:8090"
    data: str | None = None
    public: str | None = None
    register: str
    keys: list[str]
    policy: str | None = None
    on_missing_quorum: MissingQuorum = "hold"
    publish_interval: float = 1.0
    refresh_interval: float = 60.0
    history_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] | None = None
    dedup: Dedup = "all"
    adds_per_second: PerSecond = 0.0
    submitters_only: bool = False
    submitter: list[SubmitterConfig] = []
    trim: bool = False
    database: str = "sqlite"
    storage: str = "file"
    gzip_bundles: bool = False


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The configuration, checked: paths resolved, keys and policy read."""

    origin: str
    listen: str
    operator_listen: str | None
    data: Path | None
    """The directory of the database and of whatever else is only here; None where all of it is elsewhere."""
    database: Path | str
    """SQLite's file, or the URL of a PostgreSQL database, which several processes may serve."""
    public: Path | str
    """The folder of static files; a web server may be another user, who must be able to get there. Or ``s3://…``."""
    register: Path | str
    """The directory of the register, or ``postgresql://…`` or ``s3://…``."""
    keys: tuple[SignerKey, ...]
    policy: Policy | None
    on_missing_quorum: MissingQuorum
    publish_interval: float
    """Seconds between two checkpoints of a growing log."""
    refresh_interval: float
    """Seconds after which the checkpoint of an idle log is signed and cosigned again, to show that it is alive."""
    history_days: int | None
    """For how long published checkpoints can be asked for; None for ever."""
    dedup: Dedup
    adds_per_second: float
    """Entries that one address may add without a token; 0 for no limit."""
    submitters_only: bool
    """Whether a token is needed."""
    submitters: tuple[Submitter, ...]
    trim: bool
    """Whether entries leave the database once they are in durable bundles."""
    gzip_bundles: bool
    """Whether an object storage gets bundles compressed."""


def read_settings(path: Path) -> LogSettings:
    """Read and check a configuration file.

    Raises:
        UsageError: naming the file, the key and what to do.
    """
    config = load(path, LogConfig)
    _check_intervals(path, config)
    check_addresses(path, config.listen, config.operator_listen)
    try:
        origin = parse_origin(config.origin.encode())
    except FormatError as error:
        raise UsageError(f"{path}: `origin`: {error}") from None
    keys = tuple(read_signer_key(resolve(path, file)) for file in config.keys)
    _check_keys(path, origin, config.keys, keys)
    policy = None if config.policy is None else _read_policy(path, config.policy)
    if policy is not None:
        _check_policy(path, policy, keys)
    data = None if config.data is None else resolve(path, config.data)
    settings = LogSettings(
        origin=origin,
        listen=config.listen,
        operator_listen=config.operator_listen,
        data=data,
        database=_database(path, config.database, data),
        public=_public(path, config, data),
        register=_register(path, config.register),
        keys=keys,
        policy=policy,
        on_missing_quorum=config.on_missing_quorum,
        publish_interval=config.publish_interval,
        refresh_interval=config.refresh_interval,
        history_days=config.history_days,
        dedup=config.dedup,
        adds_per_second=config.adds_per_second,
        submitters_only=config.submitters_only,
        submitters=_submitters(path, config),
        trim=config.trim,
        gzip_bundles=config.gzip_bundles,
    )
    _check_places(path, settings)
    return settings


def _submitters(path: Path, config: LogConfig) -> tuple[Submitter, ...]:
    found: dict[str, Submitter] = {}
    for number, entry in enumerate(config.submitter, 1):
        where = f"{path}: [[submitter]] number {number}"
        if entry.name in found:
            raise UsageError(f"{where}: there is an earlier one of this `name`")
        if not re.fullmatch("[0-9a-f]{64}", entry.token_sha256):
            raise UsageError(f"{where}: `token_sha256` is not 64 hexadecimal digits: printf %s TOKEN | sha256sum")
        digest = bytes.fromhex(entry.token_sha256)
        if digest in (other.token_sha256 for other in found.values()):
            raise UsageError(f"{where}: there is an earlier one with this token")
        found[entry.name] = Submitter(entry.name, digest, entry.adds_per_second)
    if config.submitters_only and not found:
        raise UsageError(f"{path}: with `submitters_only` and no [[submitter]] nobody could add")
    return tuple(found.values())


def _database(path: Path, database: str, data: Path | None) -> Path | str:
    if database.startswith("postgresql://"):
        return database
    if database != "sqlite":
        raise UsageError(f'{path}: `database` is "sqlite" or a URL like "postgresql://user@host/name"')
    if data is None:
        raise UsageError(f"{path}: the key `data` is missing: add it, with the directory where the database is to be")
    return data / DATABASE_NAME


def _public(path: Path, config: LogConfig, data: Path | None) -> Path | str:
    if config.gzip_bundles and config.storage == "file":
        raise UsageError(
            f"{path}: `gzip_bundles` is for a `storage` of objects: leave it out, web servers compress what they serve"
        )
    if config.storage.startswith("s3://"):
        if config.public is not None:
            raise UsageError(f"{path}: `public` names a folder and `storage` a bucket: leave one of them out")
        return _object_url(path, "storage", config.storage)
    if config.storage != "file":
        raise UsageError(f'{path}: `storage` is "file" or a URL like "s3://bucket/prefix"')
    if config.public is not None:
        return resolve(path, config.public)
    if data is None:
        raise UsageError(f"{path}: `public` is missing: name the folder for the public files, or a `storage`")
    return data / PUBLIC_NAME


def _register(path: Path, register: str) -> Path | str:
    if register.startswith("s3://"):
        return _object_url(path, "register", register)
    if register.startswith("postgresql://"):
        return register
    if "://" in register:
        raise UsageError(f"{path}: `register` is a path, or a URL of postgresql:// or s3://")
    return resolve(path, register)


def _object_url(path: Path, name: str, url: str) -> str:
    try:
        check_object_url(url)
    except UsageError as error:
        raise UsageError(f"{path}: `{name}`: {error}") from None
    return url


def _check_intervals(path: Path, config: LogConfig) -> None:
    for name, seconds in (("publish", config.publish_interval), ("refresh", config.refresh_interval)):
        if not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
            raise UsageError(f"{path}: `{name}_interval` must be between {MIN_INTERVAL:g} and {MAX_INTERVAL:g} seconds")


def _check_places(path: Path, settings: LogSettings) -> None:
    """The register must survive the loss of the data, and a restored backup must not bring it along."""
    register, data, public = settings.register, settings.data, settings.public
    _check_shared(path, settings)
    for name, place in (("data", data), ("public", public)):
        if isinstance(register, Path) and isinstance(place, Path) and _overlap(register, place):
            raise UsageError(f"{path}: `register` and `{name}` must be apart, best on different disks")
    if isinstance(public, Path) and data is not None and data.is_relative_to(public):
        raise UsageError(f"{path}: `public` must not contain `data`: everything in it is served")


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _check_shared(path: Path, settings: LogSettings) -> None:
    if isinstance(settings.register, str):
        if _place(settings.register) in (_place(settings.database), _place(settings.public)):
            # A backup of the one would bring the other along.
            raise UsageError(f"{path}: `register` is where the log itself is: put it into another cluster or bucket")
        if isinstance(settings.public, str) and _place(settings.register).startswith(f"{_place(settings.public)}/"):
            raise UsageError(f"{path}: `register` is below `storage`, which is served: put it into another bucket")
    elif isinstance(settings.database, str):
        raise UsageError(
            f"{path}: with a PostgreSQL `database` several processes may serve this log, so `register` has to be where "
            "all of them reach it: in another PostgreSQL cluster, or s3://bucket/prefix"
        )
    if settings.dedup == "recent" and isinstance(settings.database, str):
        raise UsageError(f'{path}: `dedup = "recent"` is in the memory of one process: with PostgreSQL use "all"')


def _place(where: Path | str) -> str:
    """Where this is, however it is spelt, and whoever asks."""
    if isinstance(where, str) and where.startswith("postgresql://"):
        place = where.partition("?")[0].rpartition("@")[2].removeprefix("postgresql://")
        return f"postgresql://{place.replace(':5432/', '/')}".lower()
    return str(where).rstrip("/")


def _check_keys(path: Path, origin: str, files: Sequence[str], keys: tuple[SignerKey, ...]) -> None:
    # SPEC: T-3 a public log has at least one Ed25519 signature of its own.
    if not any(key.type is KeyType.ED25519 for key in keys):
        raise UsageError(f"{path}: `keys` needs an Ed25519 log key: make one with `sameview keygen --type log`")
    for file, key in zip(files, keys, strict=True):
        if key.type not in LOG_KEY_TYPES:
            raise UsageError(f"{path}: `keys`: {file} is not a log key: make one with `sameview keygen --type log`")
        # SPEC: CP-8 a log's key name equals its origin line.
        if key.name != origin:
            raise UsageError(
                f"{path}: `keys`: {file} is named {key.name}, not as the origin: make one with --name {origin}"
            )
    if len({key.type for key in keys}) != len(keys):
        raise UsageError(f"{path}: `keys` names two keys of one algorithm: a log signs with one of each")


def _check_policy(path: Path, policy: Policy, keys: tuple[SignerKey, ...]) -> None:
    own = {key.verifier_key for key in keys}
    # A policy may leave its logs out, where they are known otherwise.
    if policy.logs and own.isdisjoint(log.key for log in policy.logs):
        raise UsageError(f"{path}: `policy` names other logs only: add the line `log {keys[0].verifier_key}` to it")
    selectors = {(key.name, key.id) for key in own}
    if any((witness.key.name, witness.key.id) in selectors for witness in policy.witnesses):
        raise UsageError(f"{path}: `policy` names a key of this log as a witness: a log cannot witness itself")
    if not policy.satisfied_by([witness.name for witness in policy.witnesses if witness.url is not None]):
        raise UsageError(f"{path}: `policy` cannot be met: too few of its witnesses have a URL to send checkpoints to")


def _read_policy(path: Path, name: str) -> Policy:
    data = read_named(path, f"{path}: `policy`", name, MAX_POLICY_BYTES, "a policy")
    try:
        return Policy.parse(data)
    except FormatError as error:
        raise UsageError(f"{resolve(path, name)}: {error}") from None
