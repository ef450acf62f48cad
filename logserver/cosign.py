"""Gathering cosignatures: what a log sends to the witnesses of its policy, and what it makes of their answers.

Witnesses are asked at the same time, each under its own deadline. As soon as the policy is satisfied the rest get a
moment longer and are then left behind: their cosignatures would be surplus, and the next checkpoint asks them again.
So a slow witness delays nothing that does not need it.

What a witness does is logged when it changes, not each time: one that is down for a day is two lines.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import structlog
import trio

from logserver.metrics import LogMetrics
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

ATTEMPTS = 3  # one to learn the witness's size, one to catch up, one for a race with another submitter

COMPARE = "compare its vkey with the one in the policy"

ProveFrom = Callable[[int], Awaitable[Sequence[Hash]]]
"""The consistency proof from an old size to the checkpoint's."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a round waits, in seconds."""

    witness: float = 5.0
    """For one witness, retries included: beyond that it is as good as down."""
    grace: float = 0.1
    """For surplus cosignatures, once the quorum is there."""


@dataclass(slots=True)
class WitnessLink:
    """One witness of the policy: where it is, its keys, and what we know of it."""

    url: str
    keys: tuple[VerifierKey, ...]
    size: int = 0
    """The size it cosigned last, as far as we know."""
    retry_at: float = -math.inf
    """It asked to be left alone until then, in trio's time."""
    trouble: str | None = None
    """Why it does not cosign, None while it does."""

    @property
    def name(self) -> str:
        """The name its keys carry."""
        return self.keys[0].name


def links(policy: Policy) -> list[WitnessLink]:
    """The witnesses of a policy that can be reached, one for each submission prefix."""
    by_url: dict[str, tuple[VerifierKey, ...]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            url = witness.url.rstrip("/")
            by_url[url] = (*by_url.get(url, ()), witness.key)
    return [WitnessLink(url, keys) for url, keys in by_url.items()]


class Witnesses:
    """The witnesses of a policy, asked together."""

    def __init__(self, policy: Policy, client: Client, metrics: LogMetrics, patience: Patience | None = None) -> None:
        self._policy = policy
        self._links = links(policy)
        self._client = client
        self._metrics = metrics
        self._patience = patience or Patience()
        self._metrics.declare_witnesses(link.name for link in self._links)

    async def gather(self, signed: SignedCheckpoint, prove: ProveFrom) -> SignedCheckpoint:
        """Ask every witness; return the checkpoint with all cosignatures that came in time."""
        gathered = signed

        async def ask(witness: WitnessLink, everybody: trio.CancelScope) -> None:
            nonlocal gathered
            with trio.move_on_after(self._patience.witness) as patience:
                cosigned = await self._converse(witness, signed, prove)
                if cosigned is not None:
                    gathered = gathered.merge(cosigned)
                    self._hurry_if_met(gathered, everybody)
            if patience.cancelled_caught:
                self._note_trouble(witness, "it gave no answer in time")

        async with trio.open_nursery() as nursery:
            self._hurry_if_met(gathered, nursery.cancel_scope)  # a policy may ask for no cosignature at all
            for witness in self._links:
                if trio.current_time() >= witness.retry_at:
                    nursery.start_soon(ask, witness, nursery.cancel_scope)
        return gathered

    def _hurry_if_met(self, gathered: SignedCheckpoint, everybody: trio.CancelScope) -> None:
        if self._policy.cosigned(gathered).met:
            everybody.deadline = min(everybody.deadline, trio.current_time() + self._patience.grace)

    async def _converse(
        self, witness: WitnessLink, signed: SignedCheckpoint, prove: ProveFrom
    ) -> SignedCheckpoint | None:
        """Submit, and where the witness knows another size, begin again from there."""
        for _ in range(ATTEMPTS):
            path = await prove(witness.size)
            answer = await self._ask(witness, AddCheckpoint(witness.size, tuple(path), signed.raw))
            match answer:
                case Cosigned(signatures):
                    self._note_cosigned(witness, signed.size)
                    return replace(signed, signatures=signatures).verified_only()
                case Behind(size) if size <= signed.size:
                    # SPEC: W-15 a client may learn the size from a submission that the witness refuses.
                    witness.size = size
                case _:
                    self._note_refusal(witness, answer)
                    return None
        self._note_trouble(witness, "it names another size each time")
        return None

    async def _ask(self, witness: WitnessLink, request: AddCheckpoint) -> Answer:
        try:
            # The deadline is that of the whole conversation.
            answer = await self._client.fetch(
                "POST",
                f"{witness.url}/add-checkpoint",
                body=request.format(),
                cap=MAX_ANSWER_BYTES,
                seconds=self._patience.witness,
            )
        except FetchError as error:
            return Broken(str(error))
        content_type, retry_after = answer.headers.get("content-type"), answer.headers.get("retry-after")
        read = read_answer(answer.status, content_type, answer.body, request, witness.keys, retry_after)
        if answer.status == 200 and isinstance(read, Broken):
            return Broken(
                f"its answer is no cosignature by a key that the policy names for it: {read.reason}; {COMPARE}"
            )
        return read

    def _note_cosigned(self, witness: WitnessLink, size: int) -> None:
        witness.size = size
        self._metrics.cosigned(witness.name)
        if witness.trouble is not None:
            _log.info("witness_cosigns_again", witness=witness.name)
            witness.trouble = None

    def _note_refusal(self, witness: WitnessLink, answer: Answer) -> None:
        match answer:
            case Behind(size):
                # Somebody else has a larger tree under our key, or the witness lies: we remember all that we signed.
                self._note_trouble(witness, f"it says it cosigned {size} entries, more than this log ever signed")
            case SplitView():
                self._note_trouble(witness, "it knows another tree of the size it was sent: this log's key is misused")
            case Refused(422):
                # The proof was right: it was made from tiles that hash to what we signed.
                self._note_trouble(witness, "it knows a tree that ours does not extend: this log's key is misused")
            case Unknown():
                self._note_trouble(witness, "it does not know this log: ask its operator to add the log's vkey")
            case Refused(403):
                why = "it trusts another key for this origin, or knows that this log contradicted itself"
                self._note_trouble(witness, f"it answered 403: {why}; ask its operator, and compare the log's vkey")
            case Refused(status):
                self._note_trouble(witness, f"it answered {status}")
            case Retry(seconds):
                witness.retry_at = trio.current_time() + (seconds or 0)
                self._note_trouble(witness, "it cannot answer now")
            case Broken(reason):
                self._note_trouble(witness, reason)
            case Cosigned():
                raise AssertionError("a cosignature is no refusal")
            case _:
                assert_never(answer)

    def _note_trouble(self, witness: WitnessLink, trouble: str) -> None:
        self._metrics.failed(witness.name)
        if trouble != witness.trouble:
            _log.warning("witness_does_not_cosign", witness=witness.name, why=trouble)
            witness.trouble = trouble
