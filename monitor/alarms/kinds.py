"""The kinds of alarm: what each means and what to do about it.

On the wire a kind is in lower case with hyphens (``log-stale``), where design papers write LOG_STALE. Only
``convicted`` is proof; every other one is a reason to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gossip.core import CONVICTED, MIRROR_DAMAGED, UNSERVED, WRONG_ENTRIES

LOG_STALE = "log-stale"
WATERMARK_STALE = "watermark-stale"
WITNESS_LAG = "witness-lag"
PEER_LAG = "peer-lag"
SIZE_JUMP = "size-jump"
POLICY_DEGRADED = "policy-degraded"
VANTAGE_SPLIT = "vantage-split"

LOG_UNREACHABLE = "log-unreachable"
VANTAGE_UNREACHABLE = "vantage-unreachable"
BAD_CHECKPOINT = "bad-checkpoint"
MIRROR_FULL = "mirror-full"
CLOCK_BEHIND = "clock-behind"
CLOCK_AHEAD = "clock-ahead"
CLOCK_STEPPED = "clock-stepped"
EVIDENCE_REFUSED = "evidence-refused"
NOT_BEGUN = "not-begun"
WRONG_TILE = "wrong-tile"
WRONG_CHAIN = "wrong-chain"
WITNESS_CONFLICT = "witness-conflict"
WATCH_STUCK = "watch-stuck"
DISK_FAILED = "disk-failed"


@dataclass(frozen=True, slots=True)
class Kind:
    """What an alarm of this kind means, and what whoever reads it does next."""

    means: str
    next: str
    proof: bool = False


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        CONVICTED: Kind(
            "A key signed two statements that contradict each other: there is evidence that anybody can check.",
            "Download the evidence, verify it with `sameview verify evidence`, and rely on nothing this key signs.",
            proof=True,
        ),
        LOG_STALE: Kind(
            "The log shows nothing new for longer than its cadence allows, or less than it showed before.",
            "Fetch its checkpoint from elsewhere: a cache or the network may hold it back, or the log stands still.",
        ),
        WATERMARK_STALE: Kind(
            "Too few witnesses were heard lately to rule out that clients of the policy see something else.",
            "See `witness-lag` for who is missing, and ask these witnesses directly.",
        ),
        WITNESS_LAG: Kind(
            "A witness shows older heads than most others, or none: it is down, or is not shown what others are.",
            "Ask its operator whether it is reached by the logs, and what it cosigned last.",
        ),
        PEER_LAG: Kind(
            "Another monitor was not heard, or holds older heads than it should by now.",
            "Ask its operator what it sees; until then nobody compares with it.",
        ),
        UNSERVED: Kind(
            "The log signed a tree that it serves nobody: neither its entries nor a proof can be had.",
            "Ask the log's operator for the entries; the testimony of several monitors is at /v1/testimony.",
        ),
        SIZE_JUMP: Kind(
            "The log signed far more entries than it usually grows by.",
            "Look at what was added: a bulk import, a flood, or a size that is made up.",
        ),
        POLICY_DEGRADED: Kind(
            "If as many witnesses lie as `liars` says, the policy or the witnesses heard do not rule out a split view.",
            "Bring back or replace witnesses, or choose a policy with more of them in every quorum.",
        ),
        VANTAGE_SPLIT: Kind(
            "Another address or network is shown a tree that this monitor cannot explain.",
            "Compare the checkpoints of both ways by hand and keep them: the log may show two histories.",
        ),
        LOG_UNREACHABLE: Kind(
            "The log has not answered for a minute.", "Try it from elsewhere, then ask its operator."
        ),
        VANTAGE_UNREACHABLE: Kind(
            "The second way to the log has not answered for ten minutes, so nothing is compared through it.",
            "Check the proxy or the second address.",
        ),
        BAD_CHECKPOINT: Kind(
            "What the log shows is not a checkpoint that its configured key signed.",
            "Find out whether the log changed its key; if it did, get the new one from somebody you trust.",
        ),
        WRONG_ENTRIES: Kind(
            "The log serves entries that do not hash to the root it signed.",
            "Ask the log's operator; nothing of it is adopted until the entries are right.",
        ),
        WRONG_TILE: Kind(
            "The log serves a tile of hashes that is not of the tree it signed: proofs made of it do not hold.",
            "Ask the log's operator. The entries themselves were read and are right.",
        ),
        WRONG_CHAIN: Kind(
            "A certificate log serves a precertificate or a chain that does not belong to the entry beside it.",
            "Fetch it from elsewhere, and ask the log's operator. No tree commits the log to these bytes.",
        ),
        NOT_BEGUN: Kind(
            "The monitor does not follow the log yet: what `start` asks for is not there.",
            "Connect to the monitors of other operators, or set `start` to a number of entries.",
        ),
        DISK_FAILED: Kind(
            "The disk did not take what this monitor writes: it adopts and states nothing for as long as that lasts.",
            "Free space, or repair the disk and mount it again: the monitor goes on by itself, and misses nothing.",
        ),
        MIRROR_FULL: Kind(
            "Leaf hashes beyond `mirror_bytes` are not kept: evidence about them needs tiles from elsewhere.",
            "Raise `mirror_bytes` if there is disk.",
        ),
        MIRROR_DAMAGED: Kind(
            "The mirror on disk does not say what was signed. No log is convicted of that.",
            "Check the disk, then set the monitor up anew.",
        ),
        CLOCK_BEHIND: Kind(
            "This machine's clock is behind the observer's last signature, so the observer signs nothing.",
            "Set the clock, and find out who moved it.",
        ),
        CLOCK_AHEAD: Kind(
            "A key signs times more than five minutes ahead of this machine's clock. They count as of their arrival.",
            "Compare the clocks; if several keys are ahead at once, it is this machine that is behind.",
        ),
        CLOCK_STEPPED: Kind(
            "This machine's clock was moved while the monitor ran. Ages are judged again once it stands still.",
            "Find out who moved it, and keep it in time with several servers.",
        ),
        WITNESS_CONFLICT: Kind(
            "A witness refused a head of this log that is not of the tree seen here.",
            "Ask the witness's operator for the note: with it the log is convicted.",
        ),
        WATCH_STUCK: Kind(
            "The log does not serve again, as it signed them, entries that the watch-lists have not looked at yet.",
            "Ask the log's operator for these entries: nothing behind them is looked at before.",
        ),
        EVIDENCE_REFUSED: Kind(
            "A witness does not take evidence against the log, and may go on cosigning it.",
            "Bring the evidence to its operator.",
        ),
    }
)

_UNKNOWN = Kind("This alarm was raised by another version of the program.", "Read the manual of that version.")


def kind_of(name: str) -> Kind:
    """Tell what a kind means."""
    return KINDS.get(name, _UNKNOWN)
