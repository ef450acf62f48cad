"""The tables ``[[watch]]`` of the configuration: what to look for, in which logs, from which entry on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from monitor.watch import CertificateNames, Digests, JsonPath, ModulePaths, Pattern, Rule, Substring, Watch
from runtime.config import check_label, read_named
from runtime.errors import UsageError

MAX_LIST_BYTES = 16 * 1024 * 1024  # a hundred thousand digests with the names of their files
MAX_KEEP = 1_000_000

_RULES = ("substring", "regex", "json_path", "x509_names", "module_paths", "digests")
_KINDS = {"x509_names": "static-ct", "module_paths": "sumdb"}  # rules that read what one kind of log holds


class WatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[watch]]``: exactly one of the rules."""

    name: str
    logs: list[str] = []
    since: int | Literal["now"] = "now"
    keep: int = 10_000
    substring: str | None = None
    regex: str | None = None
    json_path: str | None = None
    equals: str | int | float | bool | None = None
    matches: str | None = None
    x509_names: list[str] | None = None
    module_paths: list[str] | None = None
    digests: str | None = None


@dataclass(frozen=True, slots=True)
class ListedWatch:
    """A watch with the origins of the logs that it looks through."""

    watch: Watch
    origins: frozenset[str]


def read_watches(path: Path, entries: Sequence[WatchConfig], kinds: Mapping[str, str]) -> tuple[ListedWatch, ...]:
    """Check the watches of a configuration file; ``kinds`` says of each log of it, by its origin, what kind it is.

    Raises:
        UsageError: naming the file, the table and the key.
    """
    watches: dict[str, ListedWatch] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}: [[watch]] number {number}"
        check_label(where, entry.name)
        if entry.name in watches:
            raise UsageError(f"{where}: there is an earlier [[watch]] of this `name`")
        if not isinstance(entry.since, str) and entry.since < 0:
            raise UsageError(f'{where}: `since` is the index of an entry, such as 0 for the first, or "now"')
        if not 1 <= entry.keep <= MAX_KEEP:
            raise UsageError(f"{where}: `keep` is not between 1 and {MAX_KEEP} matches")
        rule = _chosen(where, entry)
        watch = Watch(
            entry.name,
            _rule(path, where, entry, rule),
            None if isinstance(entry.since, str) else entry.since,
            entry.keep,
        )
        watches[entry.name] = ListedWatch(watch, _origins(where, entry, rule, kinds))
    return tuple(watches.values())


def _chosen(where: str, entry: WatchConfig) -> str:
    rules = [name for name in _RULES if getattr(entry, name) is not None]
    if len(rules) != 1:
        raise UsageError(f"{where}: write exactly one of {', '.join(f'`{name}`' for name in _RULES)}")
    compared = [name for name in ("equals", "matches") if getattr(entry, name) is not None]
    if compared and (rules != ["json_path"] or len(compared) > 1):
        raise UsageError(f"{where}: `equals` or `matches`, one of them, compares what a `json_path` leads to")
    return rules[0]


def _origins(where: str, entry: WatchConfig, rule: str, kinds: Mapping[str, str]) -> frozenset[str]:
    wanted = _KINDS.get(rule)
    for origin in entry.logs:
        if origin not in kinds:
            raise UsageError(f"{where}: `logs` names an origin of which there is no [[log]]")
        if wanted not in (None, kinds[origin]):
            raise UsageError(
                f'{where}: `{rule}` reads entries of logs of `kind = "{wanted}"`, and `logs` names another'
            )
    found = frozenset(origin for origin in entry.logs or kinds if wanted in (None, kinds[origin]))
    if not found:
        raise UsageError(f'{where}: `{rule}` reads entries of logs of `kind = "{wanted}"`, and there is none')
    return found


def _rule(path: Path, where: str, entry: WatchConfig, name: str) -> Rule:
    try:
        if entry.substring is not None:
            if not entry.substring:
                raise ValueError("every entry contains nothing")
            return Substring(entry.substring.encode())
        if entry.regex is not None:
            return Pattern.compile(entry.regex)
        if entry.json_path is not None:
            return JsonPath.compile(entry.json_path, entry.equals, entry.matches)
        if entry.x509_names is not None:
            return CertificateNames.of(entry.x509_names)
        if entry.module_paths is not None:
            return ModulePaths.compile(entry.module_paths)
        return Digests.parse(
            read_named(path, f"{where}: `digests`", entry.digests or "", MAX_LIST_BYTES, "a list of digests")
        )
    except ValueError as error:
        raise UsageError(f"{where}: `{name}`: {error}") from None
