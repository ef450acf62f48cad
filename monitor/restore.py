"""Brings a monitor back to where its disk says it was: mirrors cut to the committed size, branches, convictions.

What was verified once is verified again, because the keys in the configuration are the ones that count, and because a
mirror may have rotted meanwhile: each must still lead to the root that was signed.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gossip.core import Branch, Held, HeldTestimony, Log, Rules, State, begin, origin_id
from gossip.core.state import MAX_TESTIMONY
from gossip.testimony import open_testimony
from monitor.mirror import Mirror
from monitor.site import reopened
from monitor.start import first_hashed
from monitor.tables import StoredBranch, StoredEvidence, StoredTestimony
from runtime.errors import UsageError
from tlog.errors import TlogError
from tlog.evidence import Evidence, verify_evidence
from tlog.keys import VerifierKey
from tlog.proofs import root_at


def open_mirror(data: Path, log: Log, stored: StoredBranch | None, max_bytes: int, start: int | None = 0) -> Mirror:
    """Open the mirror of a log and compare its root with the one that was committed.

    Raises:
        UsageError: files are missing or damaged; says what to do.
    """
    folder = data / hashlib.sha256(log.origin.encode()).hexdigest()
    if stored is None:
        return Mirror.open(folder, max_bytes=max_bytes, anew=start == 0)
    mirror = Mirror.open(folder, stored.size, stored.kept, stored.edge, max_bytes=max_bytes)
    if start is not None and first_hashed(start) < mirror.start:
        begins = mirror.start
        mirror.close()
        raise UsageError(
            f"the mirror in {folder} begins with entry {begins}, and `start` asks for earlier ones: begin anew in an "
            "empty directory, or put back what `start` was"
        )
    if root_at(stored.size, mirror.read) != stored.root_hash:
        mirror.close()
        raise UsageError(
            f"the mirror in {folder} does not lead to the root that was signed: its disk is damaged. Restore the data "
            "directory whole, or begin anew in an empty directory"
        )
    return mirror


def restored(
    rules: Rules,
    epoch: int,
    now_ms: int,
    branches: Sequence[StoredBranch],
    evidence: Sequence[StoredEvidence],
    testimony: Sequence[StoredTestimony] = (),
) -> State:
    """Rebuild what gossip knew. What the configured keys no longer verify is left out.

    Raises:
        UsageError: a branch is of a log whose keys have changed.
    """
    restored_branches: dict[bytes, Branch] = {}
    for stored in branches:
        log = rules.logs.get(origin_id(stored.origin))
        if log is not None:
            restored_branches[log.id] = _branch(log, stored)
    held = {}
    for item in evidence:
        log = rules.logs.get(origin_id(item.origin))
        found = None if log is None else _held(log, rules, item)
        if log is None or found is None:
            continue
        held[item.id] = found
        if found.conviction.accused in log.keys:
            branch = restored_branches.get(log.id, Branch())
            restored_branches[log.id] = replace(branch, convicted=(*branch.convicted, item.id))
    state = begin(rules, epoch, now_ms, restored_branches, held)
    return replace(state, testimony=_testimony(rules, restored_branches, testimony))


def names_of(evidence: Iterable[StoredEvidence]) -> frozenset[str]:
    """Name those whom evidence accuses that was verified when it was kept."""
    return frozenset(VerifierKey.parse(one.accused).name for one in evidence)


def _branch(log: Log, stored: StoredBranch) -> Branch:
    signed = reopened(log, stored.note)
    if signed is None:
        raise UsageError(
            f"the branch of {log.origin} was signed with a key that is not configured any more: put the key back, or "
            "begin anew in an empty data directory"
        )
    return Branch(signed)


def _testimony(
    rules: Rules, branches: Mapping[bytes, Branch], testimony: Sequence[StoredTestimony]
) -> dict[bytes, tuple[HeldTestimony, ...]]:
    """What peers testified about heads that no branch has reached, the newest."""
    found: dict[bytes, tuple[HeldTestimony, ...]] = {}
    for stored in testimony:
        origin, key = origin_id(stored.origin), rules.testifiers.get(stored.peer)
        if origin not in rules.logs or key is None or stored.size <= branches.get(origin, Branch()).size:
            continue
        try:
            said, _ = open_testimony(stored.note, (key,))
        except TlogError:
            continue
        found[origin] = (*found.get(origin, ()), HeldTestimony(said, stored.peer, stored.note))[-MAX_TESTIMONY:]
    return found


def _held(log: Log, rules: Rules, stored: StoredEvidence) -> Held | None:
    try:
        evidence = Evidence.parse(stored.bundle)
        conviction = verify_evidence(evidence, rules.keys_of(log, evidence.notes), log.policy, log.origin)
    except TlogError:
        return None
    return Held(conviction, stored.bundle)
