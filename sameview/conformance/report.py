"""What the kit found, for people, for programs and for continuous integration.

JUnit XML has no word for an outcome that differs as an older text allows: it is a case that passed, with a note.
"""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never
from xml.etree.ElementTree import Element, SubElement, tostring

from rich.console import Console
from rich.table import Table
from rich.text import Text as Cell

from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import Differs, Failed, Outcome, Passed, Skipped
from sameview.conformance.run import Result
from sameview.conformance.session import Subject
from tlog.policy import printable

NARROWEST, WIDEST = 80, 200
STYLES = {"pass": "green", "fail": "bold red", "differs": "yellow", "skip": "dim"}
SUITE = "witness"


def word(outcome: Outcome) -> str:
    """One word for an outcome."""
    match outcome:
        case Passed():
            return "pass"
        case Failed():
            return "fail"
        case Differs():
            return "differs"
        case Skipped():
            return "skip"
        case _:
            assert_never(outcome)


def detail(outcome: Outcome) -> str:
    """What there is to say of an outcome; nothing of a pass."""
    match outcome:
        case Passed():
            return ""
        case Failed(requirement, expected, got) | Differs(requirement, expected, got):
            return f"{requirement} expects {expected}; got {got}"
        case Skipped(reason):
            return reason
        case _:
            assert_never(outcome)


def failed(results: Sequence[Result]) -> list[str]:
    """The names of the cases that failed."""
    return [result.case.name for result in results if isinstance(result.outcome, Failed)]


def table(results: Sequence[Result], subject: Subject) -> None:
    """Print one line a case, and what it comes to."""
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("CASE", "OUTCOME", "CITES", "DETAIL"):
        lines.add_column(name, overflow="fold")
    for result in results:
        said = word(result.outcome)
        lines.add_row(
            result.case.name,
            Cell(said, STYLES[said]),
            Cell(" ".join(result.case.requirements)),
            Cell(printable(detail(result.outcome))),
        )
    console = Console(highlight=False)
    console.width = max(NARROWEST, console.width) if console.is_terminal else WIDEST
    console.print(lines)
    console.print(Cell(f"\n{_summary(results)}; the text followed is tlog-witness {subject.text}"))
    console.print(Cell(_verdict(failed(results))))


def document(results: Sequence[Result], subject: Subject) -> dict[str, object]:
    """The same as one JSON document."""
    counted = Counter(word(result.outcome) for result in results)
    return {
        "witness": subject.url,
        "origin": subject.origin,
        "vkeys": [key.format() for key in subject.vkeys],
        "text": subject.text.value,
        "holds": not failed(results),
        "counts": {said: counted[said] for said in STYLES},
        "cases": [_entry(result) for result in results],
    }


def junit(results: Sequence[Result], subject: Subject) -> bytes:
    """The same as JUnit XML."""
    counted = Counter(word(result.outcome) for result in results)
    numbers = {"tests": len(results), "failures": counted["fail"], "errors": 0, "skipped": counted["skip"]}
    totals = {name: str(number) for name, number in numbers.items()}
    suites = Element("testsuites", totals)
    seconds = sum(result.seconds for result in results)
    suite = SubElement(suites, "testsuite", {"name": SUITE, **totals, "time": f"{seconds:.3f}"})
    properties = SubElement(suite, "properties")
    for name, value in (("witness", subject.url), ("origin", subject.origin), ("text", subject.text.value)):
        SubElement(properties, "property", {"name": name, "value": printable(value)})
    for result in results:
        _add(suite, result)
    text = tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def listing(cases: Sequence[Case]) -> list[dict[str, object]]:
    """The cases themselves."""
    return [{"name": case.name, "requirements": list(case.requirements), "sentence": case.sentence} for case in cases]


def _add(suite: Element, result: Result) -> None:
    attributes = {"classname": SUITE, "name": result.case.name, "time": f"{result.seconds:.3f}"}
    entry = SubElement(suite, "testcase", attributes)
    said = printable(detail(result.outcome))  # XML has no way to write control characters
    match result.outcome:
        case Passed():
            pass
        case Failed(requirement):
            SubElement(entry, "failure", {"type": requirement, "message": said}).text = result.case.sentence
        case Differs():
            SubElement(entry, "system-out").text = f"differs: {said}"
        case Skipped():
            SubElement(entry, "skipped", {"message": said})
        case _:
            assert_never(result.outcome)


def _entry(result: Result) -> dict[str, object]:
    entry: dict[str, object] = {**listing([result.case])[0], "outcome": word(result.outcome)}
    match result.outcome:
        case Passed():
            return entry
        case Failed(requirement, expected, got) | Differs(requirement, expected, got):
            return {**entry, "requirement": requirement, "expected": expected, "got": got}
        case Skipped(reason):
            return {**entry, "reason": reason}
        case _:
            assert_never(result.outcome)


def _summary(results: Sequence[Result]) -> str:
    counted = Counter(word(result.outcome) for result in results)
    names = {"pass": "passed", "fail": "failed", "differs": "differ", "skip": "skipped"}
    return ", ".join(f"{counted[said]} {name}" for said, name in names.items() if counted[said])


def _verdict(names: list[str]) -> str:
    return f"FAILED: {', '.join(names)}" if names else "OK: the witness did what was asked"
