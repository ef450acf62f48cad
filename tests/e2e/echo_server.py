"""A process that serves the echo application with short limits: ``python -m tests.e2e.echo_server``.

It prints its port, and drains on SIGTERM.
"""

import signal
from functools import partial

import trio

from runtime.limits import Limits
from runtime.server import open_listener, serve
from tests.serving import echo

LIMITS = Limits(head_seconds=0.5, body_seconds=0.5, idle_seconds=0.5, write_seconds=0.5, connections=400)


async def main() -> None:
    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, echo, [listener], drain=drain, limits=LIMITS))
            print(listener.socket.getsockname()[1], flush=True)
            await anext(signals)
            drain.set()


if __name__ == "__main__":
    trio.run(main)
