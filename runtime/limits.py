"""What one client may take of a server, each bound with its reason.

Sizes are checked before anything is kept, times are totals: a byte dripped every second extends none of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of an HTTP server; the defaults suit every role behind a public address."""

    target_bytes: int = 2048
    """Request target, 414: the longest path of ours is a tile's or a SHA-256 in hex, the rest is query."""

    head_bytes: int = 16 * 1024
    """Request line and fields together, 431: proxies and tracing add some kilobytes, no client of ours sends one."""

    body_bytes: int = 20 * 1024 * 1024
    """Body, 413: a full bundle of 256 entries of 65,535 bytes fits; each endpoint sets its own, smaller cap."""

    chunk_framing_bytes: int = 64 * 1024
    """Size lines of one chunked body, 400: a body in pieces of a few bytes costs more to cut than to carry."""

    buffered_bytes: int = 64 * 1024
    """Bytes read ahead while a request is being answered: some pipelined requests, then the socket fills up."""

    connections: int = 1024
    """Connections served at once: below the usual 1,024 to 4,096 descriptors once files and the database are open."""

    refused_connections: int = 64
    """Connections beyond those that are told 503 at once; more than these wait in the kernel's queue."""

    requests_per_connection: int = 100_000
    """Then the connection is closed: long-lived clients spread over the instances behind a balancer again."""

    head_seconds: float = 10.0
    """From a head's first byte to its last, 408: a round trip to the other side of the world takes one."""

    body_seconds: float = 30.0
    """From the end of the head to the end of the body, 408: 128 KiB at the speed of a poor telephone line."""

    idle_seconds: float = 75.0
    """A kept connection without a request: longer than the 60 seconds after which common proxies give theirs up."""

    write_seconds: float = 30.0
    """For the client to take one message of a response: who reads slower than that holds memory of ours."""

    linger_seconds: float = 1.0
    """After the last response, for the client to read it: closing over unread bytes would reset the connection."""

    linger_bytes: int = 1024 * 1024
    """Unread bytes thrown away in that time, about what socket buffers hold."""

    drain_seconds: float = 20.0
    """For requests in flight after a drain begins: orchestrators kill after 30, and there is more to close."""
