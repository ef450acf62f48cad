"""What a channel is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.delivery.letter import Letter
from runtime.client import Response


class Undelivered(Exception):  # noqa: N818  # says what happened
    """The letters may not have arrived. The message says why, for the operator; never what the other side wrote."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Post(Protocol):
    """``Client.fetch``, as far as it is needed here."""

    async def __call__(
        self, method: str, url: str, *, cap: int, seconds: float, body: bytes = b"", headers: Mapping[str, str]
    ) -> Response:
        """Ask once."""
        ...


class Channel(Protocol):
    """Brings letters to somebody."""

    @property
    def at_once(self) -> int:
        """How many letters it takes at a time."""
        ...

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Bring all of them, in order. Returns when the other side has taken them, within a bounded time.

        Raises:
            Undelivered: it has not, or nobody knows.
        """
        ...
