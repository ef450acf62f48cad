"""Gathering cosignatures: what a log sends to the witnesses of its policy, and what it makes of their answers.

Witnesses are asked at the same time, each under its own deadline. As soon as the policy is satisfied the rest get a
moment longer and are then left behind: their cosignatures would be surplus, and the next checkpoint asks them again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import structlog
import trio

from runtime.client import Client, FetchError
from tlog.add_checkpoint import AddCheckpoint, Answer, Behind, Cosigned, read_answer
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

WITNESS_SECONDS = 5.0  # for one witness, retries included: beyond that it is as good as down
GRACE_SECONDS = 0.1  # for surplus cosignatures, once the quorum is there
ATTEMPTS = 3  # one to learn the witness's size, one to catch up, one for a race with another submitter
MAX_ANSWER_BYTES = 64 * 1024  # 16 ML-DSA-44 lines of 3.5 kB

ProveFrom = Callable[[int], Sequence[Hash]]
"""The consistency proof from an old size to the checkpoint's."""

_log = structlog.get_logger()


@dataclass(slots=True)
class WitnessLink:
    """One witness of the policy: where it is, its keys, and the size it cosigned last as far as we know."""

    url: str
    keys: tuple[VerifierKey, ...]
    size: int = field(default=0)


def links(policy: Policy) -> list[WitnessLink]:
    """The witnesses of a policy that can be reached, one for each submission prefix."""
    by_url: dict[str, tuple[VerifierKey, ...]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            by_url[witness.url] = (*by_url.get(witness.url, ()), witness.key)
    return [WitnessLink(url.rstrip("/"), keys) for url, keys in by_url.items()]


async def gather(
    client: Client, policy: Policy, witnesses: Sequence[WitnessLink], signed: SignedCheckpoint, prove: ProveFrom
) -> SignedCheckpoint:
    """Ask every witness; return the checkpoint with all cosignatures that came in time."""
    gathered = signed

    async def ask(witness: WitnessLink, enough: trio.CancelScope) -> None:
        nonlocal gathered
        with trio.move_on_after(WITNESS_SECONDS):
            cosigned = await _submit(client, witness, signed, prove)
            if cosigned is not None:
                gathered = gathered.merge(cosigned)
                if policy.cosigned(gathered).satisfied:
                    enough.deadline = min(enough.deadline, trio.current_time() + GRACE_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = math.inf
        for witness in witnesses:
            nursery.start_soon(ask, witness, nursery.cancel_scope)
    return gathered


async def _submit(
    client: Client, witness: WitnessLink, signed: SignedCheckpoint, prove: ProveFrom
) -> SignedCheckpoint | None:
    """One conversation: submit, and where the witness knows another size, begin from there."""
    for _ in range(ATTEMPTS):
        if witness.size > signed.size:
            _log.warning("witness_ahead", witness=witness.keys[0].name, size=witness.size, ours=signed.size)
            witness.size = 0  # somebody else submits for this origin, or it was restored: ask anew next time
            return None
        request = AddCheckpoint(witness.size, tuple(prove(witness.size)), signed.raw)
        try:
            answer = await client.fetch(
                "POST", f"{witness.url}/add-checkpoint", body=request.format(), cap=MAX_ANSWER_BYTES, seconds=WITNESS_SECONDS
            )
        except FetchError as error:
            _log.warning("witness_unreachable", witness=witness.keys[0].name, reason=str(error))
            return None
        match read_answer(answer.status, answer.headers.get("content-type"), answer.body, request, witness.keys):
            case Cosigned(lines):
                witness.size = signed.size
                note = Note(signed.note.text, (*signed.note.signatures, *lines))
                keys = [signature.key for signature in signed.signatures]
                return open_checkpoint(note, [*keys, *witness.keys])
            case Behind(size):
                witness.size = size
            case other:
                _refused(witness, other)
                return None
    return None
