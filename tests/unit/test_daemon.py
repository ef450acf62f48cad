"""Daemons: one ready line, a clean drain, and an exit code for each way to end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette

from runtime.daemon import Node, serve_node

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = """
import os, signal, sys, trio
from contextlib import asynccontextmanager
from functools import partial
from runtime.daemon import Node, Ready, run_daemon, serve_node
from runtime.errors import CannotTell, UsageError
from tlog.errors import FormatError

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

async def waiting(drain, *, task_status):
    task_status.started(Ready("http://127.0.0.1:1", "vkey"))
    await drain.wait()

"""


@contextmanager
def daemon(code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, log = process.communicate(timeout=30)
    return process.returncode, output, log


def ready(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert isinstance(line, dict)
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_0(number: signal.Signals) -> None:
    with daemon("sys.exit(run_daemon('test', waiting))") as process:
        assert ready(process) == {"event": "ready", "role": "test", "url": "http://127.0.0.1:1", "vkey": "vkey"}
        process.send_signal(number)
        assert ended(process)[:2] == (0, "")


NODE = """
    @asynccontextmanager
    async def node():
        try:
            yield Node("vkey", app, app, (trio.sleep_forever,))
        finally:
            sys.stderr.write("state closed\\n")

    sys.exit(run_daemon("test", partial(serve_node, node(), "127.0.0.1:0", {operator!r})))
"""


@pytest.mark.parametrize("operator", ["127.0.0.1:0", None])
def test_a_node_serves_at_the_urls_it_announces_and_closes_its_state(operator: str | None) -> None:
    with daemon(NODE.format(operator=operator)) as process:
        line = ready(process)
        urls = [line[name] for name in ("url", "operator_url") if name in line]
        assert len(set(urls)) == (1 if operator is None else 2)
        for url in urls:
            curl = subprocess.run(
                [sys.executable, "-c", f"import urllib.request as r; print(r.urlopen({url!r}).read())"],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
                env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
            )
            assert curl.stdout == "b'ok'\n"
        process.terminate()
        code, output, log = ended(process)
        assert (code, output) == (0, "")
        assert "state closed" in log


@pytest.mark.parametrize(
    ("failure", "code", "sentence"),
    [
        ("UsageError('no such directory: run init')", 2, "sameview: no such directory: run init\n"),
        ("CannotTell('the server does not answer')", 3, "sameview: the server does not answer\n"),
        ("KeyboardInterrupt", 130, ""),
        ("ExceptionGroup('tasks', [UsageError('locked'), UsageError('locked')])", 2, "sameview: locked\n"),
    ],
)
def test_what_a_person_can_mend_is_told_in_a_sentence(failure: str, code: int, sentence: str) -> None:
    with daemon(f"""
        async def failing(drain, *, task_status):
            raise {failure}

        sys.exit(run_daemon("test", failing))
    """) as process:
        assert ended(process) == (code, "", sentence)


@pytest.mark.parametrize("failure", ["ValueError('secret')", "FormatError('from a stranger')"])
def test_a_fault_of_ours_is_70_with_its_traceback_in_the_log_only(failure: str) -> None:
    with daemon(f"""
        async def failing(drain, *, task_status):
            local = "value of a local variable"
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))
            await trio.lowlevel.checkpoint()
            raise {failure}

        sys.exit(run_daemon("test", failing))
    """) as process:
        assert ready(process)["event"] == "ready"
        code, output, log = ended(process)
        assert (code, output) == (70, "")
        entry = json.loads(log.splitlines()[-1])
        assert (entry["level"], entry["role"]) == ("critical", "test")
        assert "Traceback" in entry["exception"]
        assert "value of a local variable" not in log


def test_a_disk_that_fails_is_told_in_the_log_without_a_traceback() -> None:
    with daemon("""
        from runtime.database import DatabaseFailed

        async def failing(drain, *, task_status):
            raise DatabaseFailed(OSError(28, "No space left on device"))

        sys.exit(run_daemon("test", failing))
    """) as process:
        code, _, log = ended(process)
        entry = json.loads(log.splitlines()[-1])
        assert (code, entry["level"], "exception" in entry) == (70, "critical", False)
        assert "No space left on device" in entry["reason"]


def test_a_daemon_that_ends_by_itself_has_failed() -> None:
    with daemon("""
        async def ending(drain, *, task_status):
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))

        sys.exit(run_daemon("test", ending))
    """) as process:
        assert ended(process)[0] == 70


def test_a_task_that_fails_ends_the_node() -> None:
    with daemon("""
        async def failing():
            raise UsageError("another instance took over")

        @asynccontextmanager
        async def node():
            yield Node("vkey", app, app, (failing,))

        sys.exit(run_daemon("test", partial(serve_node, node(), "127.0.0.1:0", None)))
    """) as process:
        code, _, log = ended(process)
        assert (code, log) == (2, "sameview: another instance took over\n")


def test_a_taken_port_is_told_before_any_state_is_opened() -> None:
    with daemon("""
        import socket
        taken = socket.create_server(("127.0.0.1", 0))

        @asynccontextmanager
        async def node():
            sys.stderr.write("state opened\\n")
            yield Node("vkey", app, app)

        address = "127.0.0.1:%d" % taken.getsockname()[1]
        code = run_daemon("test", partial(serve_node, node(), address, None))
        taken.close()
        sys.exit(code)
    """) as process:
        code, output, log = ended(process)
        assert (code, output) == (2, "")
        assert log.startswith("sameview: cannot listen on")


def test_state_that_cannot_be_opened_is_told_and_nothing_announced() -> None:
    with daemon("""
        @asynccontextmanager
        async def node():
            raise UsageError("there is no database: run init")
            yield

        sys.exit(run_daemon("test", partial(serve_node, node(), "127.0.0.1:0", "127.0.0.1:0")))
    """) as process:
        assert ended(process) == (2, "", "sameview: there is no database: run init\n")


def test_a_signal_before_it_serves_ends_it_at_once() -> None:
    with daemon("""
        async def starting(drain, *, task_status):
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()

        sys.exit(run_daemon("test", starting))
    """) as process:
        assert ended(process)[:2] == (0, "")


def test_a_second_signal_ends_the_draining() -> None:
    with daemon("""
        async def stubborn(drain, *, task_status):
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))
            await drain.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()

        sys.exit(run_daemon("test", stubborn))
    """) as process:
        assert ready(process)["event"] == "ready"
        process.terminate()
        code, _, log = ended(process)
        assert code == 0
        assert "stopped before everything had drained" in log


HANGING = """
    import runtime.daemon, time
    runtime.daemon.DRAIN_SECONDS = runtime.daemon.STOP_SECONDS = 0.1

    async def hang():
        await trio.to_thread.run_sync(time.sleep, 1000)

    async def draining(drain, *, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))

    @asynccontextmanager
    async def node():
        yield Node("vkey", app, app, (hang,))

    sys.exit(run_daemon("test", {what}))
"""


@pytest.mark.parametrize("what", ["draining", 'partial(serve_node, node(), "127.0.0.1:0", None)'])
def test_what_never_answers_does_not_keep_a_daemon_from_ending(what: str) -> None:
    with daemon(HANGING.format(what=what)) as process:
        assert ready(process)["event"] == "ready"
        process.terminate()
        code, _, log = ended(process)
        assert (code, "stopped although something did not answer" in log) == (0, True)


async def test_a_node_that_ends_in_another_program_does_not_end_that() -> None:
    @asynccontextmanager
    async def node() -> AsyncIterator[Node]:
        yield Node("vkey", Starlette(), Starlette())

    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_node, node(), "127.0.0.1:0", None, drain)
        drain.set()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_once_it_serves_the_interpreter_is_tuned_for_serving() -> None:
    with daemon("""
        import gc

        async def telling(drain, *, task_status):
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))
            await drain.wait()
            sys.stderr.write(f"{gc.get_freeze_count() > 10_000} {sys.getswitchinterval() < 0.001}\\n")

        sys.exit(run_daemon("test", telling))
    """) as process:
        assert ready(process)["event"] == "ready"
        process.terminate()
        assert "True True\n" in ended(process)[2]


@pytest.mark.parametrize(("limits", "left"), [((64, 256), [256, 256]), ((256, 256), [256, 256])])
def test_it_takes_as_many_files_as_the_system_allows(limits: tuple[int, int], left: list[int]) -> None:
    told = f"""
        import json, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, {limits})
        async def tell(drain, *, task_status):
            task_status.started(Ready(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)), "vkey"))
            await drain.wait()
        sys.exit(run_daemon('test', tell))
    """
    with daemon(told) as process:
        assert json.loads(ready(process)["url"]) == left


def test_logs_are_json_lines_on_standard_error() -> None:
    with daemon("""
        import logging, structlog

        async def logging_one(drain, *, task_status):
            task_status.started(Ready("http://127.0.0.1:1", "vkey"))
            structlog.get_logger().debug("too small to say")
            structlog.get_logger().warning("é", origin="log.example/one")
            await drain.wait()

        sys.exit(run_daemon("test", logging_one))
    """) as process:
        assert ready(process)["event"] == "ready"
        process.terminate()
        _, output, log = ended(process)
        entries = [json.loads(line) for line in log.splitlines()]
        assert output == ""
        assert [entry["event"] for entry in entries] == ["é", "draining"]
        assert {k: v for k, v in entries[0].items() if k != "timestamp"} == {
            "event": "é",
            "origin": "log.example/one",
            "role": "test",
            "level": "warning",
        }
