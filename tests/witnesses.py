"""Witnesses that say what a test wants them to say, served over HTTP.

``cosign`` is the honest answer to anything; the others are those that deployed witnesses, older texts and liars give.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http import bare
from tests.keys import NOW, note_line
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.quorum import Group

Answer = Callable[["ScriptedWitness", AddCheckpoint], Awaitable[Response]]


@dataclass(slots=True)
class ScriptedWitness:
    """A witness with one key that keeps what it was sent."""

    key: SignerKey
    answer: Answer
    seen: list[AddCheckpoint] = field(default_factory=list)
    url: str = ""
    released: trio.Event = field(default_factory=trio.Event)
    """Set when the test is over: who hangs then goes home."""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/add-checkpoint", self._add_checkpoint, methods=["POST"])])

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints it was sent."""
        return [Checkpoint.parse(Note.parse(request.checkpoint_note).text) for request in self.seen]

    async def _add_checkpoint(self, request: Request) -> Response:
        sent = AddCheckpoint.parse(await request.body())
        self.seen.append(sent)
        return await self.answer(self, sent)


def lines(sent: AddCheckpoint, *keys: SignerKey, time: int = NOW) -> bytes:
    """Cosignatures on what was sent."""
    checkpoint = Checkpoint.parse(Note.parse(sent.checkpoint_note).text)
    return b"".join(note_line(checkpoint, key, time).format() for key in keys)


async def cosign(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    return bare(200, lines(sent, witness.key), "text/plain; charset=utf-8")


async def hang(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    await witness.released.wait()
    return bare(500)


def says(
    status: int, body: bytes = b"", content_type: str | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """The same answer to everything."""

    async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
        return bare(status, body, content_type, headers)

    return answer


def policy_of(
    log: SignerKey, witnesses: list[ScriptedWitness], threshold: int | None = None, *, named: bool = True
) -> Policy:
    """``threshold`` of the witnesses, by default all; 0 asks for none."""
    threshold = len(witnesses) if threshold is None else threshold
    of = tuple(
        PolicyWitness(f"w{number}", witness.key.verifier_key, witness.url)
        for number, witness in enumerate(witnesses, start=1)
    )
    logs = (PolicyLog(log.verifier_key),) if named else ()
    if threshold == 0:
        return Policy(logs, of, (), None)
    return Policy(logs, of, (Group("q", threshold, tuple(witness.name for witness in of)),), "q")
