"""``sameview witness add-log|list-logs|disable-log|pull-logs``: the logs of a witness, also while it runs."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from runtime.errors import DOES_NOT_HOLD, HOLDS
from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.log_list import MAX_LIST_BYTES, MAX_QPD, ListedLog, LogList
from tlog.text import parse_origin

if TYPE_CHECKING:
    from runtime.database import Database
    from witness.config import WitnessSettings
    from witness.logs import KnownLog

T = TypeVar("T")

CONFIG = click.option("--config", required=True, type=click.Path(path_type=Path), help="The witness's TOML file.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command("add-log")
@CONFIG
@click.argument("vkey")
@click.option("--origin", help="The log's origin, where it is not the name of the key.")
@click.option("--qpd", type=click.IntRange(1, MAX_QPD), help="Requests to answer per day; any number if left out.")
def add_log(config: Path, vkey: str, origin: str | None, qpd: int | None) -> None:
    """Add a log by its VKEY, or enable a disabled one. A running witness notices within a second."""
    from sameview.commands.inputs import naming
    from witness.logs import add_log as add

    with naming("the vkey or the origin"):
        new = _log(vkey, origin, qpd)
    _on_database(config, lambda settings, database: add(settings, database, new))
    click.echo(f"added {new.origin}", err=True)


@click.command("disable-log")
@CONFIG
@click.argument("origin")
def disable_log(config: Path, origin: str) -> None:
    """Answer for the log of this ORIGIN no more; what was cosigned stays public."""
    from witness.logs import disable_log as disable

    _on_database(config, lambda settings, database: disable(settings, database, origin))
    click.echo(f"disabled {origin}", err=True)


@click.command("list-logs")
@CONFIG
@JSON
def list_logs(config: Path, as_json: bool) -> None:
    """List the logs of the configuration file and of the database."""
    from witness.logs import list_logs as listed

    logs = _on_database(config, listed)
    if as_json:
        click.echo(json.dumps({"logs": [_document(log) for log in logs]}))
        return
    for log in logs:
        state = " disabled" if log.disabled else ""
        limit = "" if log.qpd is None else f" qpd {log.qpd}"
        click.echo(f"{log.origin}\n  {log.source}{state}{limit}")
        for key in log.keys:
            click.echo(f"  {key.format()}")


@click.command("pull-logs")
@CONFIG
@click.argument("source")
@JSON
def pull_logs(config: Path, source: str, as_json: bool) -> int:
    """Add the logs of the log list at SOURCE, a URL or a file, that are not known yet. Exit 1 if any contradicts."""
    from sameview.commands.inputs import naming
    from witness.logs import merge_list

    with naming("the log list"):
        found = _fetch(source) if source.startswith(("http://", "https://")) else _read(source)
        merged = _on_database(config, lambda settings, database: merge_list(settings, database, found))
    if as_json:
        conflicts = [{"origin": log.origin, "listed_vkey": log.key.format()} for log in merged.conflicts]
        click.echo(json.dumps({"added": [log.origin for log in merged.added], "conflicts": conflicts}))
    else:
        for log in merged.added:
            click.echo(f"added {log.origin}")
        for log in merged.conflicts:
            click.echo(f"refused {log.origin}: it is known by another key, or listed with our own name or key")
    return DOES_NOT_HOLD if merged.conflicts else HOLDS


def _log(vkey: str, origin: str | None, qpd: int | None) -> ListedLog:
    from witness.config import LOG_KEY_TYPES

    key = VerifierKey.parse(vkey)
    if key.type not in LOG_KEY_TYPES:
        raise FormatError("a witness's cosignature key cannot be a log's key")
    return ListedLog(key, parse_origin((origin or key.name).encode()), qpd)


def _document(log: "KnownLog") -> dict[str, object]:
    vkeys = [key.format() for key in log.keys]
    source, disabled = log.source.value, log.disabled
    return {"origin": log.origin, "vkeys": vkeys, "qpd": log.qpd, "source": source, "disabled": disabled}


def _read(file: str) -> LogList:
    from sameview.commands.inputs import read_file

    return LogList.parse(read_file(file, MAX_LIST_BYTES))


def _fetch(url: str) -> LogList:
    from runtime.client import Client
    from runtime.foreground import run_foreground
    from witness.lists import fetch_list

    async def fetch() -> LogList:
        async with Client() as client:
            return await fetch_list(client, url)

    return run_foreground(fetch)


def _on_database(config: Path, work: "Callable[[WitnessSettings, Database], Awaitable[T]]") -> T:
    """Do something in the database of a witness that may be running."""
    from runtime.database import open_database
    from runtime.datadir import DataDirectory
    from runtime.foreground import run_foreground
    from witness.config import read_settings
    from witness.store import DATABASE_NAME, METADATA

    settings = read_settings(config)
    directory = DataDirectory.open(settings.data, init="sameview witness init")

    async def on_database() -> T:
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database:
            return await work(settings, database)

    return run_foreground(on_database)
