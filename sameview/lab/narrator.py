"""What the demo says while it runs: for a person on a terminal, and as one JSON document at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text


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
    evidence: str | None = None

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
        self._console.print(Text("▸ " + text, style="bold cyan"))

    def say(self, text: str) -> None:
        self._console.print(Text("  " + text))

    def note(self, raw: bytes) -> None:
        """Show a signed note, its long signature lines cut."""
        for line in raw.decode().splitlines():
            shown = line if len(line) <= 76 else line[:72] + " …"
            self._console.print(Text("    │ " + shown, style="dim"))

    def command(self, line: str, answer: str) -> None:
        self._console.print(Text("    $ " + line, style="green"))
        for part in answer.strip().splitlines():
            self._console.print(Text("      " + part))

    def check(self, report: Report, claim: str, held: bool) -> None:
        report.checks.append(Check(claim, held))
        mark, style = ("✓", "bold green") if held else ("✗", "bold red")
        self._console.print(Text.assemble("  ", (mark + " ", style), claim))

    def table(self, columns: Mapping[str, str], rows: Sequence[tuple[str, ...]]) -> None:
        """Show rows under columns; a column's value is the style of its cells."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name, style in columns.items():
            table.add_column(name, style=style)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def verdict(self, reports: list[Report]) -> None:
        self._console.print()
        for report in reports:
            word, style = ("held", "bold green") if report.held else ("DID NOT HOLD", "bold red")
            self._console.print(Text.assemble("  ", (f"{report.scenario}: {word}", style)))
