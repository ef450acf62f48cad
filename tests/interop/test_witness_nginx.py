"""The nginx configuration that is shipped for witnesses, under a real nginx with TLS."""

import http.client
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.nodes import witness
from tests.ports import free_port
from tests.witness_logs import KEYS, LOGS, PUBLIC, VERIFIERS, signed, submission
from tlog.add_checkpoint import MAX_REQUEST_BYTES
from tlog.note import parse_signature_lines
from tlog.signed_checkpoint import open_checkpoint

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx" / "witness.conf"
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came through nginx."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Front:
    """The public side."""

    port: int
    trust: ssl.SSLContext

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        return await trio.to_thread.run_sync(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=SECONDS, context=self.trust)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def certificate(directory: Path) -> ssl.SSLContext:
    """Make a certificate for the loopback address, and the trust in it."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "witness.example")])
    now = datetime.now(UTC)  # noqa: TID251 # a certificate has to be valid when the test runs
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )
    (directory / "fullchain.pem").write_bytes(made)
    (directory / "privkey.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ssl.create_default_context(cadata=made.decode())


def configure(directory: Path, port: int, upstream: str) -> Path:
    """The shipped file with other addresses and files, in a configuration that runs it and nothing else."""
    shipped = SHIPPED.read_text()
    for theirs, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server 127.0.0.1:8081;", f"server {upstream};"),
        ("/etc/ssl/witness.example/", f"{directory}/"),
    ):
        assert theirs in shipped
        shipped = shipped.replace(theirs, ours)
    (directory / "witness.conf").write_text(shipped)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = directory / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n"
        "events { worker_connections 256; }\n"
        f"http {{\n{places}gzip on; default_type application/octet-stream; include {directory}/witness.conf;\n}}\n"
    )
    return main


@asynccontextmanager
async def behind_nginx(directory: Path) -> AsyncIterator[Front]:
    """A witness with nginx in front of it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    front = directory / "nginx"
    front.mkdir()
    state = directory / "witness"
    state.mkdir()
    async with witness(state, LOGS, KEYS) as ours, trio.open_nursery() as nursery:
        public = Front(free_port(), certificate(front))
        main = configure(front, public.port, urlsplit(ours.url).netloc)
        command = [program, "-c", str(main), "-p", str(front), "-e", str(front / "error.log")]
        start: Callable[..., Awaitable[object]] = partial(
            trio.run_process, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        process = await nursery.start(start)
        try:
            await answering(public.port)
            yield public
        finally:
            process.terminate()


async def answering(port: int) -> None:
    """Wait until somebody listens."""
    with trio.fail_after(SECONDS):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                return
            except OSError:
                await trio.sleep(0.02)


async def test_a_submission_passes_byte_by_byte(tmp_path: Path) -> None:
    """SPEC: W-14, W-22, W-42"""
    async with behind_nginx(tmp_path) as front:
        cosigned = await front.ask("POST", "/add-checkpoint", submission(0, 5))
        assert (cosigned.status, len(parse_signature_lines(cosigned.body))) == (200, 2)
        assert open_checkpoint(signed(5).raw + cosigned.body, VERIFIERS).size == 5
        stale = await front.ask("POST", "/add-checkpoint", submission(0, 9))
        assert (stale.status, stale.body, stale.headers["content-type"]) == (409, b"5\n", "text/x.tlog.size")
        copy = await front.ask("GET", PUBLIC)
        assert (copy.status, copy.headers["cache-control"]) == (200, "no-store")
        assert copy.body == signed(5).raw + cosigned.body
        assert "content-encoding" not in copy.headers


async def test_a_body_that_is_too_large_stops_at_nginx(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path) as front:
        too_large = await front.ask("POST", "/add-checkpoint", bytes(MAX_REQUEST_BYTES + 1))
        assert (too_large.status, "nginx" in too_large.body.decode()) == (413, True)
        # The largest legal one is the witness's to judge.
        largest = await front.ask("POST", "/add-checkpoint", bytes(MAX_REQUEST_BYTES))
        assert largest.status == 400
        evidence = await front.ask("POST", "/v1/evidence", bytes(150_000))
        assert (evidence.status, b"nginx" in evidence.body) == (400, False)


async def test_only_the_witness_s_paths_pass(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path) as front:
        for path in ("/", "/status", "/v1/logs", "/v1/keys", "/v1/conflicts"):
            assert (await front.ask("GET", path)).status == 200
        for path in (
            "/metrics",
            "/readyz",
            "/healthz",
            "/version",
            "/v1/other",
            "//status",
            "/status/",
            "/add-checkpoint/x",
        ):
            answer = await front.ask("GET", path)
            assert (answer.status, b"nginx" in answer.body) == (404, True)
        upper = await front.ask("GET", PUBLIC.upper().replace("CHECKPOINT", "checkpoint"))
        assert (upper.status, b"nginx" in upper.body) == (404, True)
        assert (await front.ask("GET", "/add-checkpoint")).status == 405
