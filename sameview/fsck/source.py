"""Where a log's files are read from: a URL, or a directory that a web server could serve."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from runtime.client import Client, Failure, FetchError, Response
from runtime.errors import CannotTell, UsageError
from sameview.urls import checked_url
from tlog.errors import ProofError

FETCH_SECONDS = 60  # for one bundle of up to 16 MB
FETCHES_AT_ONCE = 16  # files under way: hides the round trips, and bounds memory at about what they hold
RETRY_SECONDS = (0.2, 1.0)  # waits before a server that is busy is asked again; then it is asked no more
NOT_THERE = frozenset({403, 404, 410})  # some stores answer 403 where nothing is

Read = Callable[[str, int], Awaitable[bytes | None]]
"""Reads a path below the log's prefix, up to a number of bytes; None when it is not there."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Source:
    """A log's files, and how many of them it pays to ask for at the same time."""

    read: Read
    at_once: int

    async def each(self, ask: Callable[[T], Awaitable[R]], questions: Sequence[T]) -> list[R]:
        """Ask all questions. Of several faults the first in the log is the one to name."""
        if self.at_once > 1:
            return await _at_once(ask, questions, self.at_once)
        await trio.lowlevel.checkpoint()  # reading a disk waits for nothing that could be interrupted
        return [await ask(question) for question in questions]


@asynccontextmanager
async def open_source(source: str) -> AsyncIterator[Source]:
    """Open a URL or a directory.

    Raises:
        UsageError: it is neither.
    """
    if "://" in source:
        async with Client() as client:
            yield Source(_reader_of_url(client, checked_url(source, "the source")), FETCHES_AT_ONCE)
    else:
        if not Path(source).is_dir():
            raise UsageError(f"{source} is neither a URL nor a directory: name a log's URL or its public directory")
        yield Source(_reader_of_folder(source), 1)


async def _at_once(ask: Callable[[T], Awaitable[R]], questions: Sequence[T], most: int) -> list[R]:
    answers: dict[int, R] = {}
    faults: dict[int, ProofError | CannotTell] = {}
    limit = trio.CapacityLimiter(most)

    async def one(number: int, question: T) -> None:
        async with limit:
            try:
                answers[number] = await ask(question)
            except (ProofError, CannotTell) as fault:
                faults[number] = fault

    async with trio.open_nursery() as nursery:
        for number, question in enumerate(questions):
            nursery.start_soon(one, number, question)
    if faults:
        raise faults[min(faults)]
    return [answers[number] for number in range(len(questions))]


def _reader_of_url(client: Client, url: str) -> Read:
    async def ask(path: str, cap: int) -> Response:
        try:
            return await client.fetch("GET", f"{url}/{path}", cap=cap, seconds=FETCH_SECONDS, gunzip=True)
        except FetchError as error:
            if error.failure is Failure.TOO_LARGE:
                raise ProofError(f"{path} is larger than any legal one") from None
            raise CannotTell(f"{path} cannot be fetched: {error}") from None

    async def read(path: str, cap: int) -> bytes | None:
        answer = await ask(path, cap)
        for seconds in RETRY_SECONDS:
            if answer.status != 429 and answer.status < 500:
                break
            await trio.sleep(seconds)
            answer = await ask(path, cap)
        if answer.status in NOT_THERE:
            return None
        if answer.status != 200:
            raise CannotTell(f"{path} cannot be fetched: the server answered {answer.status}")
        return answer.body

    return read


def _reader_of_folder(folder: str) -> Read:
    async def read(path: str, cap: int) -> bytes | None:
        try:
            # Unbuffered, and without a Path for each of millions of files.
            with open(f"{folder}/{path}", "rb", buffering=0) as file:  # noqa: ASYNC230
                data = file.readall() if os.fstat(file.fileno()).st_size <= cap else None
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise CannotTell(f"{path} cannot be read: {error.strerror}") from None
        if data is None:
            raise ProofError(f"{path} is larger than any legal one")
        return data

    return read
