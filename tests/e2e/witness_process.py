"""A witness as its operator runs it: configured in a file, made by ``init``, served by a process."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime.keyfiles import write_signer_key
from tests.keys import witness_key
from tests.witness_logs import LOG
from tlog.keys import SignerKey, VerifierKey

NAME = "witness.example/one"
KEY = witness_key(NAME)
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """A witness in a process of its own."""

    public: tuple[str, int]
    operator: tuple[str, int]

    @property
    def url(self) -> str:
        host, port = self.public
        return f"http://{host}:{port}"

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return _ask(self.public, method, path, body)

    def exposition(self) -> str:
        return _ask(self.operator, "GET", "/metrics", None)[1].decode()

    def memory(self) -> float:
        return self.gauge("process_resident_memory_bytes")

    def gauge(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.exposition(), re.M)
        assert found is not None
        return float(found[1])

    def series(self) -> set[str]:
        """Every series, without its value."""
        return {line.rpartition(" ")[0] for line in self.exposition().split("\n") if line and line[0] != "#"}


def command(*words: object) -> list[str]:
    """A command line of sameview."""
    return [sys.executable, "-m", "sameview", *map(str, words)]


@contextmanager
def running(
    directory: Path, logs: Sequence[VerifierKey] = (LOG.verifier_key,), keys: Sequence[SignerKey] = (KEY,)
) -> Iterator[Running]:
    """Configure, init and serve a witness, whose file names these logs."""
    for number, key in enumerate(keys):
        write_signer_key(directory / f"w{number}.key", key)
    files = json.dumps([f"w{number}.key" for number in range(len(keys))])
    config = directory / "witness.toml"
    config.write_text(
        f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\n'
        f'data = "data"\nregister = "register"\nkeys = {files}\n'
        + "".join(f'[[log]]\nvkey = "{vkey}"\n' for vkey in logs)
    )
    subprocess.run(command("witness", "init", "--config", config), check=True, capture_output=True)
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            command("witness", "serve", "--config", config), stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Running(_address(ready["url"]), _address(ready["operator_url"]))
        finally:
            process.terminate()
            process.wait(SECONDS)


def _ask(address: tuple[str, int], method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
