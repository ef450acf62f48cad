"""What the demo says while it runs: for a person on a terminal, and as one JSON document at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

SHOWN_COLUMNS = 72  # of a signature line: what follows is base64
SHOWN_HASHES = 2  # of a proof: the others look the same


@dataclass(frozen=True, slots=True)
class Check:
    """One claim the demo makes about what happened, and whether it held."""

    claim: str
    held: bool


@dataclass(slots=True)
class Report:
    """One scenario's outcome."""

    scenario: str
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every claim held, and there was one."""
        return bool(self.checks) and all(check.held for check in self.checks)

    def document(self) -> dict[str, object]:
        """The report as JSON says it."""
        checks = [{"claim": check.claim, "held": check.held} for check in self.checks]
        named = {"name": self.scenario, "held": self.held, "checks": checks}
        return {**named, "figures": self.figures, "evidence": self.evidence}


class Narrator:
    """Prints what happens as it happens, to standard error when standard output is for JSON."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=quiet, highlight=False)

    def title(self, text: str) -> None:
        self._console.print()
        self._console.rule(Text(text, style="bold"))

    def step(self, text: str) -> None:
        self._console.print()
        self._indented(Text("▸ " + text, style="bold cyan"), 0)

    def say(self, text: str) -> None:
        self._indented(Text(text), 2)

    def note(self, raw: bytes) -> None:
        """Show a signed note or evidence, its long lines cut and the hashes of long proofs left out."""
        for line in _without_hashes(raw.decode().splitlines()):
            shown = line if len(line) <= SHOWN_COLUMNS + 4 else line[:SHOWN_COLUMNS] + " …"
            self._console.print(Text("    │ " + shown, style="dim"), no_wrap=True, overflow="ellipsis")

    def command(self, line: str, answer: str) -> None:
        """Show a command as it can be typed, whatever its length, and what it answered."""
        self._console.print(Text("    $ " + line, style="green"), soft_wrap=True)
        verdict, *details = answer.strip().splitlines() or [""]
        self._indented(Text(verdict), 6)
        for part in details:
            self._console.print(Text("      " + part), no_wrap=True, overflow="ellipsis")

    def check(self, report: Report, claim: str, held: bool) -> None:
        report.checks.append(Check(claim, held))
        mark, style = ("✓", "bold green") if held else ("✗", "bold red")
        self._indented(Text.assemble((mark + " ", style), claim), 2)

    def table(self, columns: Mapping[str, str], rows: Sequence[tuple[str, ...]]) -> None:
        """Show rows under columns; a column's value is the style of its cells."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name, style in columns.items():
            table.add_column(name, style=style)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def verdict(self, reports: Sequence[Report]) -> None:
        self._console.print()
        for report in reports:
            word, style = ("held", "bold green") if report.held else ("DID NOT HOLD", "bold red")
            self._console.print(Text.assemble("  ", (f"{report.scenario}: {word}", style)))

    def _indented(self, text: Text, columns: int) -> None:
        """Print a text whose second line stands under its first."""
        self._console.print(Padding(text, (0, 0, 0, columns), expand=False))


def _without_hashes(lines: Sequence[str]) -> list[str]:
    """Leave out all but the first hashes of a proof."""
    hashes = [number for number, line in enumerate(lines) if line.startswith("hash ")]
    left_out = hashes[SHOWN_HASHES:]
    if not left_out:
        return list(lines)
    kept = [line for number, line in enumerate(lines) if number not in left_out]
    kept.insert(left_out[0], f"… and {len(left_out)} more")
    return kept
