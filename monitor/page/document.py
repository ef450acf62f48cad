"""The overview as plain values: what ``/v1/overview`` answers, the page is rendered from, and ``status`` shows.

Times are Unix milliseconds unless the name says otherwise, hashes are base64 as in checkpoints, ids are hexadecimal.
Nothing here depends on when it is looked at: ages are for whoever shows them, with a clock of their own.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from runtime.wording import counted, shell


class Agreement(StrEnum):
    """How what somebody stated last of a log relates to the tree that this monitor re-hashed."""

    SAME = "same"  # the very head of the branch
    OLDER = "older"  # an earlier head of the branch
    NEWER = "newer"  # larger than the branch, or not judged yet
    CONTRADICTS = "contradicts"  # another history, or the key was convicted about this log
    UNHEARD = "unheard"  # nothing was heard yet


class Mood(StrEnum):
    """What somebody at a distance should see."""

    GOOD = "good"
    WARN = "warn"  # there is something to look at
    BAD = "bad"  # there is proof against somebody


class Verdict(StrEnum):
    """What this monitor says of a log."""

    CONVICTED = "convicted"  # there is evidence that it signed two histories
    ALARMED = "alarmed"  # there is something to look at, and no proof of anything
    CONSISTENT = "consistent"  # everything that was shown lies on one branch
    UNVERIFIED = "unverified"  # nothing was re-hashed yet


@dataclass(frozen=True, slots=True)
class Sight:
    """What one witness or peer stated last of one log; ``counts`` for the watermark (of witnesses only)."""

    name: str
    agreement: Agreement
    size: int | None
    time_ms: int | None
    counts: bool = False

    def beside(self, size: int) -> str:
        """How it relates to a branch of this size: ``same``, ``-5``, ``+5``, ``ahead``, ``other`` or ``none``."""
        match self.agreement:
            case Agreement.SAME:
                return "same"
            case Agreement.OLDER:
                return f"-{size - (self.size or 0):,}"
            case Agreement.NEWER:
                return f"+{self.size - size:,}" if self.size is not None and self.size > size else "ahead"
            case Agreement.CONTRADICTS:
                return "other"
            case Agreement.UNHEARD:
                return "none"
            case _:
                assert_never(self.agreement)


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to when nobody who follows the policy can have accepted anything that is not on the branch.

    It holds unless more than ``liars`` parties of the policy lie; ``margin`` is how many it could bear at best.
    """

    time_ms: int | None
    liars: int
    margin: int
    counting: int
    witnesses: int


@dataclass(frozen=True, slots=True)
class CertificateView:
    """Where the watermark's certificate and the policy are, and the command that verifies the one by the other."""

    path: str
    file: str
    policy_path: str
    policy_file: str
    command: str


@dataclass(frozen=True, slots=True)
class PendingHead:
    """A head that was signed, and is not known yet to lie on the branch."""

    size: int
    via: str | None


@dataclass(frozen=True, slots=True)
class CatchUp:
    """How far the monitor has come with re-hashing what a log has grown by, and about how long the rest takes."""

    done: int
    target: int
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class LogView:
    """One log: how far it was verified, and who sees the same."""

    origin: str
    id: str
    url: str
    verdict: Verdict
    size: int
    root_hash: str | None
    confirmed_ms: int | None
    catch_up: CatchUp | None
    watermark: Watermark | None
    witnesses: tuple[Sight, ...]
    peers: tuple[Sight, ...]
    pending: tuple[PendingHead, ...]
    alarms: tuple[str, ...]
    evidence: tuple[str, ...]
    completeness: CertificateView | None = None


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another monitor that views are compared with."""

    name: str
    operator: str
    url: str | None
    vkey: str
    heard_ms: int | None


@dataclass(frozen=True, slots=True)
class AlarmView:
    """Something to look at, what it means, and what to do to see for oneself."""

    kind: str
    origin: str | None
    subject: str
    detail: str
    since_ms: int
    last_seen_ms: int
    cleared_ms: int | None
    proof: bool
    means: str
    next: str
    evidence: str | None


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """Evidence, where to get it, and the command that verifies it."""

    id: str
    type: str
    shows: str
    origin: str
    accused: str
    first_seen_ms: int
    convicted_ms: int
    path: str
    file: str
    command: str
    names_origin: bool = False
    """Whether the command has to name the log's origin, because the accused key is called otherwise."""
    policy_path: str | None = None
    policy_file: str | None = None
    """Where the command needs a policy."""


@dataclass(frozen=True, slots=True)
class MatchView:
    """An entry in which a watch found something, and where its proof and the entry are."""

    number: int
    origin: str
    index: int
    found: tuple[str, ...]
    found_ms: int
    entry_size: int
    proof: str
    entry: str


@dataclass(frozen=True, slots=True)
class WatchView:
    """What a watch found: how many matches are kept, and the newest."""

    name: str
    matches: int
    newest: tuple[MatchView, ...]


def verify_command(file: str, accused: str, origin: str | None, policy_file: str | None) -> str:
    """The command that verifies evidence, to be pasted into a shell: every word that others chose is quoted."""
    words = ["sameview", "verify", "evidence", file, "--vkey", accused]
    words += [] if origin is None else ["--origin", origin]
    words += [] if policy_file is None else ["--policy", policy_file]
    return shell(words)


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers over all logs, on whatever page they are."""

    logs: int
    convicted: int
    alarmed: int
    unverified: int
    entries: int
    open_alarms: int
    evidence: int
    testimony: int
    watermark_ms: int | None
    """The oldest of all logs for which one is claimed; None while one of them has none."""
    unclaimed: int = 0
    """Logs whose policy asks for no witnesses (``quorum none``): for them no watermark is claimed."""

    @property
    def no_watermark(self) -> str:
        """What to say where there is none."""
        return "not claimed (quorum none)" if self.unclaimed == self.logs else "not yet"

    @property
    def only_partly_claimed(self) -> bool:
        """Whether the watermark is of some logs and not of all."""
        return 0 < self.unclaimed < self.logs


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at a glance. ``logs`` are those of one page, of which there are ``pages``; the rest is of all logs."""

    monitor: str
    vkey: str
    version: str
    page: int
    pages: int
    totals: Totals
    logs: tuple[LogView, ...]
    peers: tuple[PeerView, ...]
    alarms: tuple[AlarmView, ...]
    cleared: tuple[AlarmView, ...]
    evidence: tuple[EvidenceView, ...]
    watches: tuple[WatchView, ...] = ()
    """For the operator alone: to others a monitor shows none."""

    @property
    def witnesses(self) -> list[str]:
        """The witnesses of the logs that are shown, those of most logs first."""
        counts = Counter(sight.name for log in self.logs for sight in log.witnesses)
        return sorted(counts, key=lambda name: (-counts[name], name))

    @property
    def convicts(self) -> bool:
        """Whether anybody was convicted."""
        return self.totals.evidence > 0 or self.totals.convicted > 0

    @property
    def mood(self) -> Mood:
        """How it looks, in a word."""
        if self.convicts:
            return Mood.BAD
        return Mood.WARN if self.totals.open_alarms else Mood.GOOD

    @property
    def headline(self) -> str:
        """How it looks, in a sentence."""
        totals = self.totals
        if totals.convicted:
            convicted = f"{totals.convicted} of {totals.logs} logs signed two histories."
            return f"{convicted} The evidence is below; anybody can check it."
        if totals.evidence:
            return "A key other than a log's contradicted itself. The evidence is below; anybody can check it."
        if totals.open_alarms:
            look = f"{counted(totals.open_alarms, 'alarm')} to look at."
            return (
                f"{look} No log of {totals.logs} contradicted itself as far as this monitor and its peers were shown."
            )
        if totals.unverified == totals.logs:
            return "Nothing was verified yet."
        return f"No log of {totals.logs} contradicted itself as far as this monitor and its peers were shown."
