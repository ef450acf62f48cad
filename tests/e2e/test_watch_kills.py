"""A monitor that is killed again and again skips no watched entry, and tells nobody of one twice as if it were new.

One channel runs a program, the other posts to a receiver that refuses every third letter. Between two kills the log
grows, and all of it is watched for entries that end with a seven.
"""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.matching import MatchStore, StoredMatch
from monitor.tables import METADATA
from runtime.database import open_database
from tests.e2e.monitors import create
from tests.e2e.test_monitor_kills import KILLS, LONGEST_LIFE, place_for, starter
from tests.fakes_log import FakeLog
from tests.ports import free_port
from tests.served import served
from tests.tree_on_disk import TreeOnDisk
from tlog.hashing import leaf_hash
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

GROWTH = 60
PATIENCE = 120.0  # to bring everything at the end, one program after the other, on a machine that is busy
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
KEEPS = 'IFS= read -r line && printf "%s\\\\n" "$line" >> {file}'
CONFIG = """
[[watch]]
name = "sevens"
regex = "^entry [0-9]*7 "
since = 0
[[deliver]]
name = "program"
type = "exec"
command = ["/bin/sh", "-c", '{script}']
[[deliver]]
name = "hook"
type = "webhook"
url = "{url}"
secret_file = "hook.secret"
"""


@dataclass
class Receiver:
    """Takes posts, two of three, and then all."""

    patient: bool = False
    asked: int = 0
    letters: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        body = await request.body()
        self.asked += 1
        if self.asked % 3 == 0 and not self.patient:
            return Response(status_code=503)
        self.letters.append(msgspec.json.decode(body))
        return Response(status_code=204)

    def has(self, expected: Sequence[int]) -> bool:
        return len(matches(self.letters)) >= len(expected)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self.take, methods=["POST"])])


def matches(letters: Sequence[dict[str, Any]]) -> list[int]:
    """The entries that somebody was told of, as they came first."""
    return list(dict.fromkeys(letter["data"]["index"] for letter in letters if letter["type"] == "match"))


def first_attempts(letters: Sequence[dict[str, Any]]) -> list[str]:
    return [letter["id"] for letter in letters if letter["attempt"] == 1]


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def _has(file: Path, expected: Sequence[int]) -> bool:
    return len(matches(lines(file))) >= len(expected)


@asynccontextmanager
async def found(folder: Path) -> AsyncIterator[list[StoredMatch]]:
    async with open_database(folder / "data" / "monitor.sqlite", METADATA) as database:
        yield (await MatchStore(database).matches(None, 100_000))[::-1]


async def test_nothing_watched_is_skipped_and_nothing_told_twice_as_new(tmp_path: Path) -> None:
    chance = random.Random(11)
    tree = TreeOnDisk(tmp_path / "log", FakeLog(origin="log.example/one"))
    receiver, file = Receiver(), tmp_path / "told"
    async with served(receiver.app()) as site:
        port = free_port()
        place = place_for(tmp_path / "m", port, tree)
        with place.config.open("a") as config:
            config.write(CONFIG.format(url=f"{site.url}/", script=KEEPS.format(file=file)))
        secret = place.folder / "hook.secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        tree.publish()
        await create(place)
        async with starter(place) as monitor:
            for _ in range(KILLS):
                tree.grow(chance.randrange(GROWTH))
                tree.publish()
                async with monitor.alive():
                    await trio.sleep(chance.uniform(0, LONGEST_LIFE))
            receiver.patient = True
            expected = [index for index in range(tree.size) if index % 10 == 7]
            async with monitor.alive():
                with trio.fail_after(PATIENCE):
                    while len(matches(receiver.letters)) < len(expected) or len(matches(lines(file))) < len(expected):  # noqa: ASYNC110  # a file tells nobody
                        await trio.sleep(0.05)  # a file tells nobody
    async with found(place.folder) as kept:
        assert [match.index for match in kept] == expected
        trust = Trust((tree.log.key.verifier_key,))
        for match in kept:
            TlogProof.parse(match.proof).verify(leaf_hash(match.entry), trust)
    for letters in (receiver.letters, lines(file)):
        assert matches(letters) == expected
        assert len(first_attempts(letters)) == len(set(first_attempts(letters)))
