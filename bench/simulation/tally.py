"""How many stories have been played, and what came of them: a count that is true whenever it is looked at.

Of each size of federation the seeds are played one after the other from ``SEED`` on. A count belongs to the code that
it was made with, and is begun anew by any other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from bench.simulation.stories import Ending

SEED = 1
MAX_TOLD = 10  # of what went wrong, in full
# Stories between two looks. At the end of each some processor waits for the slowest story, so there are to be many.
CHUNK = {10: 200, 100: 20}
CHUNK_OF_LARGE = 6

_ROOT = Path(__file__).resolve().parents[2]
_CODE = ("bench/simulation", "gossip", "tlog")


@dataclass(slots=True)
class Played:
    """What came of the stories of one size; ``watermarks_wrong`` had more liars than they allow for."""

    runs: int = 0
    honest_keys_convicted: int = 0
    broken: int = 0
    broken_first: list[str] = field(default_factory=list)
    runs_with_convictions: int = 0
    checks: int = 0
    events: int = 0
    watermarks: int = 0
    watermarks_wrong: int = 0
    seconds: float = 0.0

    def add(self, ending: Ending | str) -> None:
        """Count one more."""
        self.runs += 1
        if isinstance(ending, str):
            self.broken += 1
            self.honest_keys_convicted += "I1" in ending
            self.broken_first = [*self.broken_first, ending][:MAX_TOLD]
            return
        self.runs_with_convictions += bool(ending.convicted)
        self.checks += ending.checks
        self.events += ending.events
        self.watermarks += ending.claims
        self.watermarks_wrong += ending.wrong_claims


@dataclass(slots=True)
class Tally:
    """The counts of all sizes."""

    code: str
    played: dict[int, Played] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, code: str) -> "Tally":
        """Go on from a file that the same code wrote, if there is one."""
        if path is None or not path.exists():
            return cls(code)
        document = json.loads(path.read_text())
        if document.pop("code") != code:
            return cls(code)
        counts = {size: {name: count[name] for name in Played.__slots__} for size, count in document.items()}
        return cls(code, {int(size): Played(**count) for size, count in counts.items()})

    def next_chunk(self, wanted: Mapping[int, int]) -> tuple[int, range] | None:
        """Choose what to play next: of the size that is furthest from what is wanted of it. None: all is played."""
        left = [(self._of(size).runs / runs, size) for size, runs in wanted.items() if self._of(size).runs < runs]
        if not left:
            return None
        _, size = min(left)
        first = self._of(size).runs
        return size, range(SEED + first, SEED + min(first + CHUNK.get(size, CHUNK_OF_LARGE), wanted[size]))

    def add(self, size: int, endings: Sequence[Ending | str], seconds: float) -> None:
        """Count these, which came next."""
        for ending in endings:
            self._of(size).add(ending)
        self._of(size).seconds = round(self._of(size).seconds + seconds, 1)

    def document(self, wanted: Mapping[int, int]) -> dict[str, object]:
        """Say it: how many runs of how many."""
        return {"code": self.code, **{str(size): {**asdict(self._of(size)), "of": wanted[size]} for size in wanted}}

    def write(self, path: Path | None, wanted: Mapping[int, int]) -> None:
        """Write it to a file, if there is to be one, in the place of what stood there."""
        if path is not None:
            new = path.with_suffix(".new")
            new.write_text(json.dumps(self.document(wanted), indent=1) + "\n")
            new.replace(path)

    def _of(self, size: int) -> Played:
        return self.played.setdefault(size, Played())


def code_hash() -> str:
    """Name the code that a story depends on."""
    files = sorted(path for folder in _CODE for path in (_ROOT / folder).rglob("*.py"))
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
