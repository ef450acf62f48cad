"""The log's configuration file (TOML), as one frozen value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from runtime.config import load, resolve
from runtime.errors import UsageError
from runtime.keyfiles import read_signer_key
from tlog.errors import FormatError
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy
from tlog.text import parse_origin

LOG_KEY_TYPES = frozenset({KeyType.ED25519, KeyType.COSIGNATURE_MLDSA44})

MissingQuorum = Literal["hold", "publish"]
Dedup = Literal["all", "recent", "off"]


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log.toml``."""

    origin: str
    listen: str = "127.0.0.1:8080"
    operator_listen: str | None = "127.0.0.1:8090"
    data: str
    register: str
    keys: list[str]
    policy: str | None = None
    on_missing_quorum: MissingQuorum = "hold"
    publish_interval: float = 1.0
    refresh_interval: float = 60.0
    dedup: Dedup = "all"
    database: str = "sqlite"
    storage: str = "file"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The configuration, checked: paths resolved, keys and policy read."""

    origin: str
    listen: str
    operator_listen: str | None
    data: Path
    register: Path
    keys: tuple[SignerKey, ...]
    policy: Policy | None
    on_missing_quorum: MissingQuorum
    publish_interval: float
    """Seconds between two checkpoints of a growing log."""
    refresh_interval: float
    """Seconds after which the checkpoint of an idle log is signed and cosigned again, to show that it is alive."""
    dedup: Dedup


def read_settings(path: Path) -> LogSettings:
    """Read and check a configuration file.

    Raises:
        UsageError: naming the file, the key and what to do.
    """
    config = load(path, LogConfig)
    try:
        origin = parse_origin(config.origin.encode())
    except FormatError as error:
        raise UsageError(f"{path}: `origin`: {error}") from None
    _refuse_unsupported(path, config)
    keys = tuple(read_signer_key(resolve(path, file)) for file in config.keys)
    _check_keys(path, origin, keys)
    return LogSettings(
        origin=origin,
        listen=config.listen,
        operator_listen=config.operator_listen,
        data=resolve(path, config.data),
        register=resolve(path, config.register),
        keys=keys,
        policy=_read_policy(resolve(path, config.policy)) if config.policy else None,
        on_missing_quorum=config.on_missing_quorum,
        publish_interval=config.publish_interval,
        refresh_interval=config.refresh_interval,
        dedup=config.dedup,
    )


def _refuse_unsupported(path: Path, config: LogConfig) -> None:
    if config.database != "sqlite":
        raise UsageError(f'{path}: `database` can only be "sqlite" in this version')
    if config.storage != "file":
        raise UsageError(f'{path}: `storage` can only be "file" in this version')
    if "://" in config.register:
        raise UsageError(f"{path}: `register` can only be a path in this version: one that no backup contains")
    for name in ("publish_interval", "refresh_interval"):
        if not 0.01 <= getattr(config, name) <= 86400:
            raise UsageError(f"{path}: `{name}` must be between 0.01 and 86400 seconds")


def _check_keys(path: Path, origin: str, keys: tuple[SignerKey, ...]) -> None:
    # SPEC: T-3 a public log has at least one Ed25519 signature of its own.
    if not any(key.type is KeyType.ED25519 for key in keys):
        raise UsageError(f"{path}: `keys` needs an Ed25519 log key: make one with `sameview keygen --type log`")
    for key in keys:
        if key.type not in LOG_KEY_TYPES:
            raise UsageError(f"{path}: a key in `keys` is not a log key: make one with `sameview keygen --type log`")
        # SPEC: CP-8 a log's key name equals its origin line.
        if key.name != origin:
            raise UsageError(
                f"{path}: a key in `keys` is named {key.name}, not as the origin: make one with --name {origin}"
            )
    if len({key.type for key in keys}) != len(keys):
        raise UsageError(f"{path}: `keys` names two keys of one algorithm: a log signs with one of each")


def _read_policy(path: Path) -> Policy:
    try:
        return Policy.parse(path.read_bytes())
    except OSError:
        raise UsageError(f"{path}: the policy file cannot be read; `policy` in the configuration names it") from None
    except FormatError as error:
        raise UsageError(f"{path}: {error}") from None
