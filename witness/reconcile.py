"""Asks others whether we have signed more than our register knows, and signs nothing meanwhile.

The register notices a database that is older than its counter. It cannot notice a copy of both. So when the witness
finds itself on another host, after another boot, or in other files than it remembers, it asks those who keep its
cosignatures: every configured peer, which all have to answer, and its own public URL, where an original may still be
running. A cosignature of ours that the register does not know proves that this state is an old one. Then nothing is
signed any more, and the way on is a new key. There is no option to go on regardless.

A copy may also be from before a log was added that a list or a command adds again, long after these questions and
perhaps another start. So a log of which the register knows nothing is asked about before its first cosignature,
whether the witness has moved or not. The others go on meanwhile.

While it waits, the witness answers everything but requests to sign. Two witnesses that start at once and ask each other
do not wait for each other.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from typing import NoReturn

import structlog
import trio

from runtime.client import FetchError, Response
from runtime.errors import UsageError
from runtime.register import Register
from tlog.keys import VerifierKey
from witness.core import shows_more

ANSWER_SECONDS = 10.0  # for one copy of a few kilobytes
RETRY_SECONDS = 10.0  # between two rounds: a peer that is restarting is back after one or two
AT_ONCE = 16  # requests under way: ten thousand logs take a minute, and no peer feels it
PATIENCE_SECONDS = 2.0  # of a request that waits for answers about a new log: peers that are well need less
OWN_ROUNDS = 3  # that our own public URL may fail to answer, as it does behind some routers

Fetch = Callable[[str], Awaitable[Response]]
"""Gets a URL, within ``ANSWER_SECONDS`` and ``MAX_NOTE_BYTES``; raises ``FetchError``."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Whom to ask about what."""

    peers: Sequence[str]
    url: str | None
    origins: Iterable[str]
    own: Sequence[VerifierKey]


class Newcomers:
    """Logs of which nothing was cosigned yet, as far as we know: ``whom`` we ask about each before we cosign it."""

    def __init__(self, whom: Inquiry, register: Register) -> None:
        self._whom = whom
        self._register = register
        self._settled = set(whom.origins)
        self._wanted: list[str] = []
        self._some_wanted = trio.Event()
        self._answered: dict[str, trio.Event] = {}
        self._limit = trio.CapacityLimiter(AT_ONCE)

    def settle(self, origins: Iterable[str]) -> None:
        """Take note that everybody was asked about these logs and nobody knows more than we do."""
        self._settled.update(origins)

    async def admit(self, origin: str) -> bool:
        """Whether nobody knows more of a log than we do; waits a moment for answers, which go on being asked for."""
        if origin in self._settled or not (self._whom.peers or self._whom.url):
            return True
        if origin not in self._answered:
            self._answered[origin] = trio.Event()
            self._wanted.append(origin)
            self._some_wanted.set()
        with trio.move_on_after(PATIENCE_SECONDS):
            await self._answered[origin].wait()
        return origin in self._settled

    async def ask_for_ever(self, fetch: Fetch) -> NoReturn:
        """Ask about those whose cosignature is wanted, each on its own.

        Raises:
            UsageError: somebody has a later cosignature of ours; says what to do. In an exception group.
        """
        async with trio.open_nursery() as tasks:
            while True:
                await self._some_wanted.wait()
                self._some_wanted = trio.Event()
                for origin in self._wanted:
                    tasks.start_soon(self._ask, origin, fetch)
                self._wanted = []

    async def _ask(self, origin: str, fetch: Fetch) -> None:
        await reconcile(replace(self._whom, origins=[origin]), self._register, fetch, self._limit)
        self._settled.add(origin)
        self._answered[origin].set()


async def reconcile(
    inquiry: Inquiry, register: Register, fetch: Fetch, limit: trio.CapacityLimiter | None = None
) -> None:
    """Return once every peer has answered for every log and none of them knows more than we do.

    Raises:
        UsageError: somebody has a later cosignature of ours; says what to do.
    """
    origins = list(inquiry.origins)
    waiting = set(product(inquiry.peers, origins))
    ours = set(product([] if inquiry.url is None else [inquiry.url], origins))
    limit = limit or trio.CapacityLimiter(AT_ONCE)
    rounds = 0
    while waiting | ours:
        rounds += 1
        answered = await _ask(sorted(waiting | ours), inquiry.own, register, fetch, limit)
        waiting -= answered
        ours = ours - answered if rounds < OWN_ROUNDS else set()
        if waiting | ours:
            if rounds.bit_count() == 1:  # less and less often: many new logs may be waiting for one peer
                _log.warning(
                    "waiting for answers before anything is signed for some logs",
                    sources=_sources(waiting | ours),
                    logs=len({origin for _, origin in waiting | ours}),
                )
            await trio.sleep(RETRY_SECONDS)


async def _ask(
    questions: Sequence[tuple[str, str]],
    own: Sequence[VerifierKey],
    register: Register,
    fetch: Fetch,
    limit: trio.CapacityLimiter,
) -> set[tuple[str, str]]:
    answered: set[tuple[str, str]] = set()
    found: list[UsageError] = []

    async def ask(source: str, origin: str) -> None:
        async with limit:
            copy = await _copy(source, origin, fetch)
        if copy is None:
            return
        known = await register.latest(origin)
        if shows_more(copy, origin, own, None if known is None else known.value):
            found.append(_forgotten(source, origin))
        answered.add((source, origin))

    async with trio.open_nursery() as nursery:
        for source, origin in questions:
            nursery.start_soon(ask, source, origin)
    if found:
        raise found[0]
    return answered


async def _copy(source: str, origin: str, fetch: Fetch) -> bytes | None:
    """What a source has of a log: nothing is an answer too. None if it does not answer."""
    # SPEC: W-41 <monitoring prefix>/<lowercase hex SHA-256 of the origin>/checkpoint
    try:
        response = await fetch(f"{source}/{sha256(origin.encode()).hexdigest()}/checkpoint")
    except FetchError:
        return None
    match response.status:
        case 200:
            return response.body
        case 404:
            return b""
        case _:
            return None


def _forgotten(source: str, origin: str) -> UsageError:
    return UsageError(
        f"{source} has a cosignature of ours for {origin} that this database does not know: it is a copy or was "
        "restored, and signing from it could contradict what was signed since. If the original is still running, "
        "leave this copy off. Otherwise run `sameview witness retire`, which makes new keys and says so in signed "
        "records"
    )


def _sources(questions: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({source for source, _ in questions})


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
