"""``sameview conformance``."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from runtime.errors import DOES_NOT_HOLD, HOLDS, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sameview.conformance.cases.case import Case
    from sameview.conformance.run import Result
    from sameview.conformance.session import Subject
    from tlog.keys import SignerKey, VerifierKey

MAX_LOG_KEYS = 2  # the first signs, the second adds the cases that need another one


@click.group()
def conformance() -> None:
    """Test somebody's implementation against the public specifications."""


@conformance.command()
@click.argument("url", required=False)
@click.option("--vkey", "vkeys", metavar="VKEY", multiple=True, help="A key of the witness: give all of them.")
@click.option(
    "--log-key",
    "log_keys",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The key of a log that the witness knows and nothing else uses; a second one allows more cases.",
)
@click.option("--origin", metavar="ORIGIN", help="The log's origin, where it is not the name of its key.")
@click.option("--monitoring-url", metavar="URL", help="Where the public copies are, if not at URL.")
@click.option(
    "--text",
    default="main",
    show_default=True,
    type=click.Choice(["main", "v1.0.0"]),
    help="The text of tlog-witness that is followed.",
)
@click.option("--lag", default=0.0, show_default=True, type=click.FloatRange(0), help="Seconds a public copy may lag.")
@click.option("--only", "names", metavar="NAME", multiple=True, help="Run this case only, or these.")
@click.option("--list", "list_only", is_flag=True, help="List the cases and run none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write JUnit XML to this file, too.")
def witness(
    url: str | None,
    vkeys: tuple[str, ...],
    log_keys: tuple[Path, ...],
    origin: str | None,
    monitoring_url: str | None,
    text: str,
    lag: float,
    names: tuple[str, ...],
    list_only: bool,
    as_json: bool,
    junit: Path | None,
) -> int:
    """Run the witness test kit against the witness at URL.

    Its operator registers the log of --log-key first: the kit prints its origin and vkey. The kit makes that log lie,
    so the key must be of no other use.

    Exit code 0: every case passed that could be run. 1: the ones named failed. 3: the witness cannot be asked.
    """
    from runtime.foreground import run_foreground
    from sameview.conformance import report
    from sameview.conformance.outcomes import Text
    from sameview.conformance.session import Subject

    cases = _selected(names)
    if list_only:
        _list(cases, as_json)
        return HOLDS
    if url is None:
        raise UsageError("give the URL of a witness, or --list")
    keys = _log_keys(log_keys)
    subject = Subject(
        _url(url, "URL"),
        _url(monitoring_url or url, "--monitoring-url"),
        _origin(keys[0].name if origin is None else origin),
        keys,
        _witness_keys(vkeys),
        Text(text),
        lag,
    )
    _say_what_to_register(subject)
    results = run_foreground(partial(_run, subject, cases))
    if junit is not None:
        _write(junit, report.junit(results, subject))
    if as_json:
        click.echo(json.dumps(report.document(results, subject)))
    else:
        report.table(results, subject)
    return DOES_NOT_HOLD if report.failed(results) else HOLDS


async def _run(subject: "Subject", cases: "Sequence[Case]") -> "list[Result]":
    from runtime.client import Client
    from runtime.clock import SystemClock
    from sameview.conformance.run import run_cases, say_nothing
    from sameview.conformance.session import Session

    async with Client("sameview conformance") as client:
        session = Session(subject, client, SystemClock())
        await session.open()
        return await run_cases(session, cases, _show if sys.stderr.isatty() else say_nothing)


def _show(result: "Result") -> None:
    """Say on the terminal which case was run."""
    click.echo(f"\r\x1b[K{result.case.name}", err=True, nl=False)


def _selected(names: tuple[str, ...]) -> "Sequence[Case]":
    from sameview.conformance.cases import CASES

    if unknown := set(names) - {case.name for case in CASES}:
        raise UsageError(f"--only names {len(unknown)} case that does not exist: --list shows them all")
    return [case for case in CASES if not names or case.name in names]


def _list(cases: "Sequence[Case]", as_json: bool) -> None:
    from sameview.conformance.report import listing

    if as_json:
        click.echo(json.dumps({"cases": listing(cases)}))
        return
    for case in cases:
        click.echo(f"{case.name}\n    {case.sentence}\n    {', '.join(case.requirements)}")


def _url(url: str, what: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{what} is not the http or https address of a witness")
    return url.rstrip("/")


def _origin(origin: str) -> str:
    from sameview.commands.inputs import naming
    from tlog.text import parse_origin

    with naming("--origin"):
        return parse_origin(origin.encode("utf-8", "surrogateescape"))


def _log_keys(files: tuple[Path, ...]) -> "tuple[SignerKey, ...]":
    from runtime.keyfiles import read_signer_key
    from tlog.keys import KeyType

    if not 1 <= len(files) <= MAX_LOG_KEYS:
        raise UsageError("give --log-key, once or twice: `sameview keygen --type log` makes one")
    keys = tuple(map(read_signer_key, files))
    if any(key.type not in (KeyType.ED25519, KeyType.COSIGNATURE_MLDSA44) for key in keys):
        raise UsageError("--log-key is not a log's key: `sameview keygen --type log` makes one")
    if len({key.verifier_key for key in keys}) != len(keys):
        raise UsageError("--log-key names one key twice: the second has to be another key of the log")
    return keys


def _witness_keys(vkeys: tuple[str, ...]) -> "tuple[VerifierKey, ...]":
    from sameview.commands.inputs import trust_from
    from tlog.keys import KeyType

    if not vkeys:
        raise UsageError("give --vkey, once for each key of the witness")
    keys = trust_from(vkeys, None).keys
    if any(key.type not in (KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44) for key in keys):
        raise UsageError("--vkey is not a witness's key: those are of the types 0x04 and 0x06")
    return keys


def _say_what_to_register(subject: "Subject") -> None:
    from tlog.policy import printable

    click.echo(f"the log that the witness has to know: origin {printable(subject.origin)}", err=True)
    for key in subject.log_vkeys:
        click.echo(f"    {key.format()}", err=True)


def _write(file: Path, data: bytes) -> None:
    from runtime.files import replace_file

    try:
        replace_file(file, data, mode=0o644)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
