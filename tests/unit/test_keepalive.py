"""Connections are kept while they are good, and over TLS only to whom a certificate names."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.client import Client, Failure, FetchError
from runtime.clock import SystemClock
from runtime.keepalive import MAX_IDLE, Target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://log.example", Target("http", "log.example", 80, "/")),
        ("https://log.example:8443/tile/0/000.p/1?x", Target("https", "log.example", 8443, "/tile/0/000.p/1?x")),
        ("http://log.example:0/", None),
        ("http://log.example:65536/", None),
        ("http://[::1]/", None),
        ("http://a@log.example/", None),
        ("http://log.example/a b", None),
        ("http://log.example/\r\nx: y", None),
        ("http://log.example/#x", None),
        ("ftp://log.example/", None),
    ],
)
def test_only_plain_urls_go_the_short_way(url: str, expected: Target | None) -> None:
    assert Target.of(url) == expected


@asynccontextmanager
async def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that gives these answers over each connection, then hangs up; its port, and requests by connection."""
    connections: list[int] = []

    async def serve(plain: trio.SocketStream) -> None:
        number = len(connections)
        connections.append(0)
        stream = plain if context is None else trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            for answer in answers:
                if not await stream.receive_some():
                    break
                connections[number] += 1
                await stream.send_all(answer)
        except trio.BrokenResourceError:
            pass
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield listeners[0].socket.getsockname()[1], connections
        nursery.cancel_scope.cancel()


async def get(client: Client, port: int, scheme: str = "http", host: str = "127.0.0.1") -> bytes:
    response = await client.fetch("GET", f"{scheme}://{host}:{port}/", cap=100, seconds=10)
    return response.body


async def test_a_connection_the_server_gave_up_is_replaced() -> None:
    async with answering(OK, OK) as (port, connections), Client() as client:
        assert [await get(client, port) for _ in range(5)] == [b"ok"] * 5
        assert connections == [2, 2, 1]


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"more",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
    ],
)
async def test_a_connection_that_may_not_be_used_again_is_not(answer: bytes) -> None:
    async with answering(answer) as (port, connections), Client() as client:
        assert [await get(client, port) for _ in range(2)] == [b"ok"] * 2
        assert connections == [1, 1]


async def test_a_new_connection_that_hangs_up_is_not_tried_again() -> None:
    async with answering(b"") as (port, connections), Client() as client:
        with pytest.raises(FetchError) as refused:
            await get(client, port)
        assert (refused.value.failure, connections) == (Failure.UNREACHABLE, [1])


async def test_no_more_connections_are_kept_than_so_many() -> None:
    async with answering(OK, OK) as (port, _), Client() as client:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_IDLE + 10):
                nursery.start_soon(get, client, port)
        assert len(client._connections._idle) <= MAX_IDLE


async def test_the_head_of_an_answer_is_bounded() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000
    async with answering(endless) as (port, _), Client() as client:
        with pytest.raises(FetchError) as refused:
            await get(client, port)
        assert refused.value.failure is Failure.PROTOCOL


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody else has signed, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.fromtimestamp(SystemClock().now(), UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


async def test_over_tls_only_whom_a_trusted_certificate_names_is_asked(tmp_path: Path) -> None:
    path, context = certificate(tmp_path)
    async with answering(OK, OK, context=context) as (port, connections), Client() as client:
        with pytest.raises(FetchError) as refused:
            await get(client, port, "https", "localhost")
        assert (refused.value.failure, sum(connections)) == (Failure.UNREACHABLE, 0)
        client._connections._context = ssl.create_default_context(cafile=path)
        assert [await get(client, port, "https", "localhost") for _ in range(2)] == [b"ok"] * 2
        assert connections[-1] == 2
        with pytest.raises(FetchError):
            await get(client, port, "https", "127.0.0.1")
