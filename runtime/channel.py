"""A client's socket: bytes in, bytes out, nothing waits for ever, and the last answer arrives.

Reads and writes go straight to the socket and ask trio only when they have to wait. That is what makes a request cheap:
an answer usually fits into the socket's buffer.
"""

import socket
import struct
from contextlib import suppress

import trio

from runtime.limits import Limits

READ_SIZE = 64 * 1024  # what one read may bring: a usual submission with room to spare


class ClientGoneError(OSError):
    """The client hung up, or reads too slowly. ASGI asks for an OSError."""


class Channel:
    """One connection's socket, which must not block. The caller closes it."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._socket = sock
        self._limits = limits

    async def read(self) -> bytes:
        """The next bytes; none when the client will send no more. The caller sets the deadline."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return b""

    async def write(self, data: bytes) -> None:
        """Give all of it to the kernel.

        Raises:
            ClientGoneError: the client is not there or did not take it in time.
        """
        sent = self._send(data)
        if sent < len(data):
            await self._write_rest(memoryview(data)[sent:])

    async def hang_up(self) -> None:
        """Say that no more will come, and let the client read what did.

        Closing a socket whose input is unread makes the kernel reset the connection, and the answer may go with it.
        """
        thrown_away = 0
        with trio.move_on_after(self._limits.linger_seconds):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while thrown_away < self._limits.linger_bytes and (data := await self.read()):
                thrown_away += len(data)

    def break_off(self) -> None:
        """Make ``close`` reset the connection, so that nobody takes what was sent for the whole answer."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._socket.close()

    async def _write_rest(self, rest: memoryview) -> None:
        with trio.move_on_after(self._limits.write_seconds):
            while rest:
                await trio.lowlevel.wait_writable(self._socket)
                rest = rest[self._send(rest) :]
            return
        raise ClientGoneError("the client reads too slowly")

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ClientGoneError("the client hung up") from error
