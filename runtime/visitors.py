"""How often strangers may ask, without knowing who they are.

Everybody together has one budget, so that questions never keep the monitor from its own work. Each address has a
smaller one, so that one asker does not use up all of it. No address is stored, logged or given to anybody: it is mixed
with a secret into one of a few thousand places of a table, and an hour later both the secret and the table are
forgotten. Two addresses may fall on one place; they then share its budget for that hour.

Addresses of this machine share only the common budget: a proxy on it speaks for everybody.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from math import ceil

import trio
from starlette.requests import Request
from starlette.responses import Response

from runtime.http import refusal
from runtime.metrics import Metrics

PLACES = 4096
FORGET_SECONDS = 3600.0
IPV6_PREFIX_BYTES = 8  # whoever has one IPv6 address has all of its /64


@dataclass(frozen=True, slots=True)
class Rate:
    """So many questions a second in the long run, and so many at once."""

    per_second: float
    burst: int


EVERYBODY = Rate(100, 400)  # a question costs one or two signature checks, 0.2 ms, and the reads of a proof
ONE_ADDRESS = Rate(10, 40)
REASONS = ("address", "everybody", "room")  # of one address, of all together, and large bodies of all together

Endpoint = Callable[[Request], Awaitable[Response]]


class Visitors:
    """The budgets."""

    def __init__(
        self,
        everybody: Rate = EVERYBODY,
        one_address: Rate = ONE_ADDRESS,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self.refused = dict.fromkeys(REASONS, 0)
        self._rates = everybody, one_address
        self._now = now
        self._everybody: Bucket | None = None
        self._places: dict[int, Bucket] = {}
        self._secret = b""
        self._forget_at = float("-inf")

    def admit(self, host: str | None, count: int = 1) -> int | None:
        """Count questions; None if they may be asked, otherwise the seconds after which to ask again."""
        now = self._now()
        everybody, one_address = self._rates
        if self._everybody is None:
            self._everybody = Bucket(everybody, now)
        if now >= self._forget_at:
            self._secret, self._places, self._forget_at = secrets.token_bytes(16), {}, now + FORGET_SECONDS
        network = None if host is None else _network(host)
        if network is not None:
            # First: what an address may not ask anyway takes nothing away from everybody.
            wait = self._places.setdefault(self._place(network), Bucket(one_address, now)).charge(now, count)
            if wait is not None:
                self.refused["address"] += 1
                return wait
        wait = self._everybody.charge(now, count)
        self.refused["everybody"] += wait is not None
        return wait

    def within(self, endpoint: Endpoint) -> Endpoint:
        """Answer who is within the budget, and tell others when to come again."""

        async def admitted(request: Request) -> Response:
            wait = self.admit(request.client.host if request.client else None)
            if wait is not None:
                return refusal(429, "too many readers at once: ask again later", {"retry-after": str(wait)})
            return await endpoint(request)

        return admitted

    def __len__(self) -> int:
        return len(self._places)

    def _place(self, network: bytes) -> int:
        return int.from_bytes(blake2b(network, key=self._secret, digest_size=8).digest(), "big") % PLACES


def watch_visitors(metrics: Metrics, groups: Mapping[str, Visitors]) -> None:
    """Count who was told to come later: of whom, and why. Nothing is told about anybody in particular."""
    metrics.counted(
        "monitor_refused_visitors",
        "Strangers who were told to come later",
        ["group", "reason"],
        lambda: [
            ((name, reason), float(count)) for name, group in groups.items() for reason, count in group.refused.items()
        ],
    )


class Bucket:
    """What is left of a rate. A request for more than fits in at once is let through when it is full, and owed."""

    __slots__ = ("_left", "_rate", "_since")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._since = now

    def charge(self, now: float, count: int = 1) -> int | None:
        """Take so much; None if it was there, otherwise the seconds after which it will be."""
        self._left = min(self._rate.burst, self._left + (now - self._since) * self._rate.per_second)
        self._since = now
        needed = min(count, self._rate.burst)
        if self._left >= needed:
            self._left -= count
            return None
        return max(1, ceil((needed - self._left) / self._rate.per_second))


def _network(host: str) -> bytes | None:
    """What an address is told by; None for one that stands for nobody in particular."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    return address.packed[:IPV6_PREFIX_BYTES]
