"""Every running node is what its OpenAPI document says, as schemathesis, which somebody else wrote, understands it.

Each operation is asked with what the document allows and with what it does not. No answer may be a failure of ours, or
have a status, a media type, a header or a shape that the document does not name.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from starlette.routing import Route

from monitor.app import monitor_app
from monitor.courier import Courier, CourierStore
from monitor.courier.courier import Addressee
from monitor.notice import Topic
from monitor.operator import operator_app
from monitor.records import Records
from monitor.scores import Scores
from runtime.client import Client
from runtime.metrics import Metrics
from tests.e2e.monitors import Asker, create, places, running, serving
from tests.fakes import FakeClock
from tests.fakes_log import FakeLog
from tests.keys import NOW, log_key, mldsa_key
from tests.log_nodes import log
from tests.nodes import make_witness, open_witness
from tests.served import served
from tests.unit.test_courier import Doorstep
from tests.unit.test_matching import bench as matching_bench
from tests.unit.test_matching import watch as watched
from tests.unit.test_monitor_node import bench, settings, views
from tests.witness_logs import KEYS, LOGS, submission
from witness.app import witness_app

DOCUMENTS = Path(__file__).parents[2] / "specs" / "openapi"
PROGRAM = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
SECONDS = 300.0
EXAMPLES = 25  # of each operation and kind; the same ones each time, by the seed
SEED = 1

# That a string of the wrong pattern is refused is for our own tests to say: some, such as a tile's width that does not
# exist, are answered as absent, which the document allows.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)

# Signed envelopes in a media type of their own are more than a generator of examples can make.
SKIPPED = "/gossip/v1/exchange"

PATH = re.compile(r"^  (/\S*):$", re.MULTILINE)
METHOD = re.compile(r"    (get|put|post|delete|options|head|patch|trace):")


@asynccontextmanager
async def some_log(directory: Path) -> AsyncIterator[str]:
    """A log with a history."""
    keys = [log_key(), mldsa_key()]
    async with log(directory, keys, clock=FakeClock(NOW)) as (opened, asked):
        for size in (0, 5, 300):
            await opened.add(*[b"%d" % number for number in range(size)])
            await opened.publisher.publish()
        yield asked.url


@asynccontextmanager
async def some_witness(directory: Path) -> AsyncIterator[str]:
    """A witness that has cosigned."""
    await make_witness(directory)
    async with (
        open_witness(directory, LOGS, KEYS, FakeClock(NOW)) as cosigner,
        served(witness_app(cosigner, Metrics(), "https://witness.example")) as asked,
    ):
        await asked.post("/add-checkpoint", submission(0, 5))
        yield asked.url


@asynccontextmanager
async def some_monitor(directory: Path) -> AsyncIterator[str]:
    """A monitor that has followed a log and convicted it."""
    honest = FakeLog()
    honest.add(12)
    honest.publish()
    async with serving(honest) as front, Client() as client:
        place, _ = await places(directory, [front, front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 12)
            liar = honest.fork(8)
            liar.add(4, "other")
            await asker.ask(ready.url, liar.sign(12, ()))
            yield ready.url


@asynccontextmanager
async def some_operator(directory: Path) -> AsyncIterator[str]:
    """What the operator of a monitor is shown that has found something, and could tell one channel of two."""
    async with matching_bench(directory, 30) as one:
        await one.looked(watched("entry"))
        doors = {"works": Doorstep(), "fails": Doorstep(refuses=1)}
        courier = Courier(
            [Addressee(name, tuple(Topic), door) for name, door in doors.items()],
            CourierStore(one.database),
            FakeClock(NOW),
            "m",
        )
        await courier.begin()
        await courier.check()
        for name, door in doors.items():
            await courier.bring(Addressee(name, tuple(Topic), door))
        async with served(operator_app(Metrics(), nothing_wrong, one.store, courier)) as asked:
            yield asked.url


async def nothing_wrong() -> list[str]:
    return []


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed: make heavy")
@pytest.mark.parametrize(
    ("document", "node"),
    [
        ("log.yaml", some_log),
        ("witness.yaml", some_witness),
        ("monitor.yaml", some_monitor),
        ("monitor-operator.yaml", some_operator),
    ],
    ids=["log", "witness", "monitor", "monitor-operator"],
)
async def test_a_node_is_what_its_document_says(
    document: str, node: Callable[[Path], AbstractAsyncContextManager[str]], tmp_path: Path
) -> None:
    async with node(tmp_path) as url:
        done = await examine(DOCUMENTS / document, url, tmp_path)
    assert done.returncode == 0, done.stdout.decode()[-20_000:]


async def examine(document: Path, url: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    limits = ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--phases", "examples,coverage,fuzzing"]
    command = [str(PROGRAM), "run", str(document), "--url", url, "--checks", ",".join(CHECKS), *limits]
    with trio.fail_after(SECONDS):
        return await trio.run_process(
            [*command, "--exclude-path", SKIPPED, "--no-color", "--warnings", "off", "--generation-database", "none"],
            cwd=directory,  # where it leaves what it found
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )


async def test_the_log_s_document_names_every_resource(tmp_path: Path) -> None:
    async with log(tmp_path, [log_key()]) as (opened, _):
        served_paths = {route.path for route in opened.app.routes()}
    named = set(PATH.findall((DOCUMENTS / "log.yaml").read_text()))
    tiles = {path for path in named if path.startswith("/tile/")}
    assert (named - tiles) | {"/tile/{path:path}"} == served_paths
    assert len(tiles) == 4


async def test_the_monitor_s_document_names_every_operation_and_no_other(tmp_path: Path) -> None:
    fake = FakeLog()
    async with bench(tmp_path, fake) as one:
        chosen = settings(tmp_path, fake)
        records = Records(chosen, one.monitor.shown.archive, Scores(one.monitor.alarms.database), one.clock)
        app = monitor_app("m1", one.monitor, views(one, chosen), one.clock, records=records)
    answered = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}  # comes with GET
    }
    assert operations(DOCUMENTS / "monitor.yaml") == answered


async def test_the_operator_s_document_names_every_operation_and_no_other(tmp_path: Path) -> None:
    async with matching_bench(tmp_path) as one:
        courier = Courier((), CourierStore(one.database), FakeClock(NOW), "m")
        routes = operator_app(Metrics(), nothing_wrong, one.store, courier).routes
    answered = {(route.path, "GET") for route in routes if isinstance(route, Route)}
    assert operations(DOCUMENTS / "monitor-operator.yaml") == answered


def operations(document: Path) -> set[tuple[str, str]]:
    """Each path of a document with each of its methods."""
    found: set[tuple[str, str]] = set()
    path = ""
    for line in document.read_text().partition("\npaths:\n")[2].partition("\ncomponents:\n")[0].splitlines():
        if named := PATH.fullmatch(line):
            path = named[1]
        elif method := METHOD.fullmatch(line):
            found.add((path, method[1].upper()))
    return found
