"""Gathering cosignatures: what a log sends to the witnesses of its policy, and what it makes of their answers.

Witnesses are asked at the same time, each under its own deadline. As soon as the policy is satisfied the rest get a
moment longer and are then left behind: their cosignatures would be surplus, and the next checkpoint asks them again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import structlog
import trio

from runtime.client import Client, FetchError
from tlog.add_checkpoint import (
    MAX_ANSWER_BYTES,
    AddCheckpoint,
    Answer,
    Behind,
    Broken,
    Cosigned,
    Refused,
    Retry,
    SplitView,
    Unknown,
    read_answer,
)
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint

WITNESS_SECONDS = 5.0  # for one witness, retries included: beyond that it is as good as down
GRACE_SECONDS = 0.1  # for surplus cosignatures, once the quorum is there
ATTEMPTS = 3  # one to learn the witness's size, one to catch up, one for a race with another submitter

ProveFrom = Callable[[int], Sequence[Hash]]
"""The consistency proof from an old size to the checkpoint's."""

_log = structlog.get_logger()


@dataclass(slots=True)
class WitnessLink:
    """One witness of the policy: where it is, its keys, and the size it cosigned last as far as we know."""

    url: str
    keys: tuple[VerifierKey, ...]
    size: int = field(default=0)

    @property
    def name(self) -> str:
        """The name its keys carry."""
        return self.keys[0].name


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
                if policy.cosigned(gathered).met:
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
            # Somebody else submits for this origin, or ours was restored. Asked from 0, it says its size again.
            _log.error("witness_ahead", witness=witness.name, size=witness.size, ours=signed.size)
            witness.size = 0
            return None
        request = AddCheckpoint(witness.size, tuple(prove(witness.size)), signed.raw)
        answer = await _ask(client, witness, request)
        match answer:
            case Cosigned(signatures):
                witness.size = signed.size
                return replace(signed, signatures=signatures).verified_only()
            case Behind(size):
                witness.size = size
            case SplitView():
                _log.error("witness_split_view", witness=witness.name, size=signed.size)
                return None
            case Unknown() | Refused() | Retry() | Broken():
                _log.warning("witness_refused", witness=witness.name, answer=repr(answer))
                return None
            case _:
                assert_never(answer)
    return None


async def _ask(client: Client, witness: WitnessLink, request: AddCheckpoint) -> Answer:
    try:
        answer = await client.fetch(
            "POST",
            f"{witness.url}/add-checkpoint",
            body=request.format(),
            cap=MAX_ANSWER_BYTES,
            seconds=WITNESS_SECONDS,
        )
    except FetchError as error:
        return Broken(str(error))
    content_type, retry_after = answer.headers.get("content-type"), answer.headers.get("retry-after")
    return read_answer(answer.status, content_type, answer.body, request, witness.keys, retry_after)
