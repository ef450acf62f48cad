"""Puts the overview together, of what the monitor has in memory and of its lists of alarms and evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gossip.core import CONVICTED, Branch, Log, MissingTile, origin_id
from gossip.core.staircase import Newest
from monitor.alarms.book import Alarm
from monitor.alarms.kinds import kind_of
from monitor.config import NamedPeer
from monitor.marks import Mark, WitnessSight
from monitor.matching import Findings, ListedMatch
from monitor.node import Monitor
from monitor.page.document import (
    Agreement,
    AlarmView,
    CatchUp,
    CertificateView,
    EvidenceView,
    LogView,
    MatchView,
    Overview,
    PeerView,
    PendingHead,
    Sight,
    Totals,
    Verdict,
    WatchView,
    Watermark,
    verify_command,
)
from monitor.site import Site
from monitor.tables import StoredEvidence
from monitor.views import Views
from runtime.version import version_document
from runtime.wording import dated, public, shell
from tlog.evidence import EvidenceType
from tlog.keys import VerifierKey
from tlog.text import encode_base64

LOGS_ON_A_PAGE = 100
MAX_OPEN = 100  # alarms that are shown at once; the number of all is told
MAX_CLEARED = 20
MAX_EVIDENCE = 100  # the newest
NEWEST_MATCHES = 5  # of each watch

_ORDER = (Verdict.CONVICTED, Verdict.ALARMED, Verdict.UNVERIFIED, Verdict.CONSISTENT)  # what to look at comes first


class Watching(Protocol):
    """``Matching``, as far as overviews need it."""

    async def findings(self, newest: int) -> Sequence[Findings]:
        """What each watch has found."""
        ...


@dataclass(frozen=True, slots=True)
class Overviews:
    """Makes overviews: with what watches found only where ``watching`` is given, since it is for the operator alone."""

    name: str
    views: Views
    watching: Watching | None = None

    @property
    def monitor(self) -> Monitor:
        """Whose overviews they are."""
        return self.views.monitor

    @property
    def peers(self) -> Sequence[NamedPeer]:
        """The peers, in the order of the configuration."""
        return self.views.peers

    async def overview(self, page: int = 1) -> Overview | None:
        """What is seen now, with the logs of one page; None if there are not so many pages."""
        alarms = await self.monitor.alarms.all()
        evidence = await self.monitor.store.evidence()
        marks = {origin: self.monitor.marks.current(origin) for origin in self.monitor.sites}
        verdicts = {origin: self._verdict(origin, site) for origin, site in self.monitor.sites.items()}
        order = sorted(self.monitor.sites, key=lambda one: (_ORDER.index(verdicts[one]), self._name(one)))
        pages = max(-(-len(order) // LOGS_ON_A_PAGE), 1)
        if not 1 <= page <= pages:
            return None
        shown = order[(page - 1) * LOGS_ON_A_PAGE : page * LOGS_ON_A_PAGE]
        open_alarms = sorted(self.monitor.alarms.open().values(), key=_urgency)
        cleared = [alarm for alarm in alarms if alarm.cleared_ms is not None]
        return Overview(
            monitor=self.name,
            vkey=self.monitor.observer.vkey.format(),
            version=version_document()["version"],
            page=page,
            pages=pages,
            totals=self._totals(verdicts.values(), marks, len(open_alarms), len(evidence)),
            logs=tuple([await self._log(one, verdicts[one], marks[one]) for one in shown]),
            peers=tuple(self._peer(named) for named in self.peers),
            alarms=tuple(map(_alarm, open_alarms[:MAX_OPEN])),
            cleared=tuple(map(_alarm, cleared[:MAX_CLEARED])),
            evidence=tuple(self._proof(one) for one in reversed(evidence[-MAX_EVIDENCE:])),
            watches=() if self.watching is None else tuple(map(_watch, await self.watching.findings(NEWEST_MATCHES))),
        )

    async def one(self, origin: bytes) -> LogView:
        """What is seen of one log."""
        verdict = self._verdict(origin, self.monitor.sites[origin])
        return await self._log(origin, verdict, self.monitor.marks.current(origin))

    def _name(self, origin: bytes) -> str:
        return self.monitor.sites[origin].log.origin

    def _verdict(self, origin: bytes, site: Site) -> Verdict:
        branch = self.monitor.branch(origin)
        if branch.convicted:
            return Verdict.CONVICTED
        if self.monitor.alarms.about(site.log.origin):
            return Verdict.ALARMED
        return Verdict.UNVERIFIED if branch.signed is None else Verdict.CONSISTENT

    def _claims(self, origin: bytes) -> bool:
        return self.monitor.sites[origin].log.policy.quorum is not None

    def _totals(self, verdicts: Iterable[Verdict], marks: Mapping[bytes, Mark], alarms: int, evidence: int) -> Totals:
        counted = list(verdicts)
        times = [mark.time for origin, mark in marks.items() if self._claims(origin)]
        known = [time for time in times if time is not None]
        state = self.monitor.gossip.state
        return Totals(
            logs=len(counted),
            convicted=counted.count(Verdict.CONVICTED),
            alarmed=counted.count(Verdict.ALARMED),
            unverified=counted.count(Verdict.UNVERIFIED),
            entries=sum(self.monitor.branch(origin).size for origin in self.monitor.sites),
            open_alarms=alarms,
            evidence=evidence,
            testimony=sum(map(len, state.testimony.values())),
            watermark_ms=min(known) * 1000 if known and len(known) == len(times) else None,
            unclaimed=len(marks) - len(times),
        )

    async def _log(self, origin: bytes, verdict: Verdict, mark: Mark) -> LogView:
        site, branch = self.monitor.sites[origin], self.monitor.branch(origin)
        names = {named.peer.id: named.name for named in self.peers}
        return LogView(
            origin=site.log.origin,
            id=origin.hex(),
            url=self.views.urls[origin],
            verdict=verdict,
            size=branch.size,
            root_hash=encode_base64(branch.signed.root_hash).decode() if branch.signed else None,
            confirmed_ms=None if site.confirmed is None else site.confirmed * 1000,
            catch_up=_catch_up(site),
            watermark=_watermark(mark) if self._claims(origin) else None,
            witnesses=tuple(_witness(sight, branch) for sight in _parties(mark.witnesses)),
            peers=tuple([await self._seen_by(named, origin, site, branch) for named in self.peers]),
            pending=tuple(
                PendingHead(one.signed.size, None if one.via is None else names.get(one.via, "a former peer"))
                for one in branch.pending
            ),
            alarms=tuple(dict.fromkeys(alarm.kind for alarm in self.monitor.alarms.about(site.log.origin))),
            evidence=tuple(id_.hex() for id_ in branch.convicted),
            completeness=None if mark.time is None else certificate_view(site.log),
        )

    async def _seen_by(self, named: NamedPeer, origin: bytes, site: Site, branch: Branch) -> Sight:
        """What a peer sees: what it told us it holds, or else what its observer key stated last."""
        if named.peer.id in branch.holders and not branch.convicted:
            return Sight(named.name, Agreement.SAME, branch.size, self.monitor.gossip.heard_ms(named.peer.id))
        found = None if named.observer is None else self.monitor.ledger.newest(site.log.origin, named.observer)
        if named.observer is None or found is None:
            return Sight(named.name, Agreement.UNHEARD, None, None)
        newest, time_ms = found
        agreement = await self._agreement(origin, newest, branch)
        if self._is_convicted(named.observer, site.log.origin):
            agreement = Agreement.CONTRADICTS
        return Sight(named.name, agreement, newest.size, dated(time_ms))

    async def _agreement(self, origin: bytes, newest: Newest, branch: Branch) -> Agreement:
        if branch.signed is None or newest.size > branch.size:
            return Agreement.NEWER
        if newest.size == branch.size:
            return Agreement.SAME if newest.has_root(branch.signed.root_hash) else Agreement.CONTRADICTS
        if not branch.convicted:
            return Agreement.OLDER  # every head is judged when it comes: one that did not lie here would have convicted
        try:
            root = await self.monitor.root_at(origin, newest.size)
        except MissingTile:
            return Agreement.NEWER
        return Agreement.OLDER if root is not None and newest.has_root(root) else Agreement.CONTRADICTS

    def _is_convicted(self, key: VerifierKey, origin: str) -> bool:
        convictions = (held.conviction for held in self.monitor.gossip.state.evidence.values())
        return any(one.accused == key and one.origin == origin for one in convictions)

    def _peer(self, named: NamedPeer) -> PeerView:
        heard_ms = self.monitor.gossip.heard_ms(named.peer.id)
        url = None if named.peer.url is None else public(named.peer.url)
        return PeerView(named.name, named.operator, url, named.peer.key.format(), heard_ms)

    def _proof(self, one: StoredEvidence) -> EvidenceView:
        site = self.monitor.sites.get(origin_id(one.origin))
        return evidence_view(one, None if site is None else site.log)


def evidence_view(one: StoredEvidence, log: Log | None) -> EvidenceView:
    """Evidence about a log, None if it is not followed any more, with the command that verifies it."""
    id_hex = one.id.hex()
    file = f"{id_hex}.tlog-evidence"
    accused = VerifierKey.parse(one.accused)
    names_origin = log is not None and accused in log.keys and accused.name != one.origin
    policy = log.id if log is not None and one.type == EvidenceType.QUORUM_SPLIT else None
    name = None if policy is None else policy_file(policy)
    return EvidenceView(
        id=id_hex,
        type=one.type,
        shows=EvidenceType(one.type).shows,
        origin=one.origin,
        accused=one.accused,
        first_seen_ms=one.first_seen_ms,
        convicted_ms=one.convicted_ms,
        path=f"/v1/evidence/{id_hex}",
        file=file,
        command=verify_command(file, one.accused, one.origin if names_origin else None, name),
        names_origin=names_origin,
        policy_path=None if policy is None else f"/v1/policies/{policy.hex()}",
        policy_file=name,
    )


def certificate_view(log: Log) -> CertificateView:
    """How the watermark of a log is verified."""
    id_hex = log.id.hex()
    file, policy = f"{id_hex[:16]}.tlog-completeness", policy_file(log.id)
    words = ["sameview", "verify", "completeness", file, "--policy", policy]
    if not any(line.key.name == log.origin for line in log.policy.logs):
        words += [word for key in log.keys for word in ("--vkey", key.format())] + ["--origin", log.origin]
    certificate, policy_path = f"/v1/completeness/{id_hex}/certificate", f"/v1/policies/{id_hex}"
    return CertificateView(certificate, file, policy_path, policy, shell(words))


def policy_file(origin: bytes) -> str:
    """What the policy of a log is called where it is downloaded."""
    return f"{origin.hex()[:16]}.policy.txt"


def _witness(sight: WitnessSight, branch: Branch) -> Sight:
    time = sight.time if sight.on_branch else sight.stated
    return Sight(
        sight.party,
        _witness_agrees(sight, branch),
        sight.size,
        None if time is None else dated(time * 1000),
        sight.counts,
    )


def _witness_agrees(sight: WitnessSight, branch: Branch) -> Agreement:
    if sight.convicted or sight.on_branch is False:
        return Agreement.CONTRADICTS
    if sight.stated is None:
        return Agreement.UNHEARD
    if sight.on_branch is None:
        return Agreement.NEWER
    return Agreement.SAME if sight.size == branch.size else Agreement.OLDER


def _parties(sights: Sequence[WitnessSight]) -> list[WitnessSight]:
    """One sight for each witness: of the lines that share a name the one that stated something last."""
    newest: dict[str, WitnessSight] = {}
    for sight in sights:
        known = newest.get(sight.party)
        if known is None or (sight.stated or 0) > (known.stated or 0):
            newest[sight.party] = sight
    return list(newest.values())


def _catch_up(site: Site) -> CatchUp | None:
    progress = site.follower.progress
    if progress is None:
        return None
    left = progress.seconds_left
    return CatchUp(progress.done, progress.target, None if left is None else int(left))


def _watermark(mark: Mark) -> Watermark:
    return Watermark(
        time_ms=None if mark.time is None else mark.time * 1000,
        liars=mark.liars,
        margin=mark.margin,
        counting=sum(sight.counts for sight in _parties(mark.witnesses)),
        witnesses=len({sight.party for sight in mark.witnesses}),
    )


def _watch(found: Findings) -> WatchView:
    return WatchView(found.watch, found.matches, tuple(map(_match, found.newest)))


def _match(match: ListedMatch) -> MatchView:
    where = f"/v1/matches/{match.number}"
    return MatchView(
        number=match.number,
        origin=match.origin,
        index=match.index,
        found=match.found,
        found_ms=match.at_ms,
        entry_size=match.entry_size,
        proof=f"{where}/proof",
        entry=f"{where}/entry",
    )


def _urgency(alarm: Alarm) -> tuple[bool, int]:
    """Proof first, then what came up last."""
    return alarm.kind != CONVICTED, -alarm.raised_ms


def _alarm(alarm: Alarm) -> AlarmView:
    kind = kind_of(alarm.kind)
    return AlarmView(
        kind=alarm.kind,
        origin=alarm.origin or None,
        subject=alarm.subject,
        detail=alarm.detail,
        since_ms=alarm.since_ms,
        last_seen_ms=alarm.last_seen_ms,
        cleared_ms=alarm.cleared_ms,
        proof=kind.proof,
        means=kind.means,
        next=kind.next,
        evidence=alarm.evidence,
    )
