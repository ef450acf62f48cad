"""What one log may take of this monitor, and what it asks of it: so many requests at once and a second, and rest.

A log that answers 429, or 503 with ``Retry-After``, is asked nothing more until the time it named is over, at most a
day. Only this log: every log has an allowance of its own. Answers are first expected to be of usual size, so that many
logs fit into little memory; where they are larger, ``grow`` says that more is expected from now on.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import trio

from monitor.room import USUAL_BYTES
from monitor.sources.source import Fetch
from runtime.client import Failure, FetchError, Response
from runtime.clock import Clock

MAX_REST_SECONDS = 86_400.0  # who wants to be left alone for longer is asked once a day whether that still holds
FIRST_REST_SECONDS = 1.0  # after a 429 that names no time; doubles up to the longest
LONGEST_REST_SECONDS = 60.0
GROWTH = 8  # of what is expected, where an answer was larger
MAX_DATE_CHARACTERS = 64

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503


class Allowance:
    """The ``Fetch`` of one log."""

    def __init__(self, fetch: Fetch, clock: Clock, parallel: int, requests_per_second: float = 0.0) -> None:
        self.parallel = parallel
        self.expected_bytes = USUAL_BYTES
        self._fetch = fetch
        self._clock = clock
        self._between = 1 / requests_per_second if requests_per_second else 0.0
        self._next = 0.0
        self._rest_until = 0.0
        self._in_a_row = 0
        self._outgrown = False

    @property
    def rest_seconds(self) -> float:
        """For how much longer the log wants to be left alone."""
        return max(self._rest_until - trio.current_time(), 0.0)

    async def rested(self) -> None:
        """Wait until the log may be asked again."""
        await trio.sleep_until(max(self._rest_until, trio.current_time()))

    def grow(self) -> bool:
        """Expect larger answers if one was too large; tell whether that is so."""
        outgrown, self._outgrown = self._outgrown, False
        if outgrown:
            self.expected_bytes *= GROWTH
        return outgrown

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        """Ask once, when it is this request's turn.

        Raises:
            FetchError: there is no answer, or the log wants to be left alone.
        """
        await self._turn()
        if self.rest_seconds:
            raise FetchError(Failure.UNREACHABLE, f"the log wants to be left alone for {self.rest_seconds:.0f} seconds")
        expected = min(cap, self.expected_bytes)
        try:
            response = await self._fetch(
                method, url, cap=expected, seconds=seconds, body=body, headers=headers, gunzip=gunzip
            )
        except FetchError as error:
            self._outgrown |= error.failure is Failure.TOO_LARGE and expected < cap
            raise
        self._heed(response)
        return response

    async def _turn(self) -> None:
        """Wait until a request may follow the one before."""
        if self._between:
            now = trio.current_time()
            mine, self._next = max(now, self._next), max(now, self._next) + self._between
            await trio.sleep_until(mine)

    def _heed(self, response: Response) -> None:
        """Leave the log alone if it wants that."""
        wanted = _seconds(response.headers.get("retry-after", ""), self._clock.now())
        if response.status == TOO_MANY_REQUESTS:
            wanted = self._longer_each_time() if wanted is None else wanted
        elif response.status != UNAVAILABLE:
            self._in_a_row = 0
            return
        if wanted is not None:
            self._rest_until = max(self._rest_until, trio.current_time() + min(wanted, MAX_REST_SECONDS))

    def _longer_each_time(self) -> float:
        self._in_a_row = min(self._in_a_row + 1, 16)
        seconds: float = FIRST_REST_SECONDS * 2 ** (self._in_a_row - 1)
        return min(seconds, LONGEST_REST_SECONDS)


def _seconds(field: str, now: int) -> float | None:
    """Read a ``Retry-After``: seconds, or a date; None for what is neither."""
    if field.isascii() and field.isdecimal() and len(field) <= MAX_DATE_CHARACTERS:
        return float(field)
    try:
        when = parsedate_to_datetime(field[:MAX_DATE_CHARACTERS])
        return max(when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None
