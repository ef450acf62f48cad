"""slowhttptest against a witness process: its slow heads and bodies keep no honest log waiting, nor fill the memory."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.witness_process import Running, running
from tests.witness_logs import submission
from tlog.note import parse_signature_lines

CONNECTIONS = 1200  # more than are served at once
RUN_SECONDS = 12
GROWS = 200  # entries
MAX_GROWTH = 64 * 1024 * 1024  # bytes: what 1,024 connections hold, some 40 KB each
FEWEST = 20  # cosignatures meanwhile; on an idle machine there are hundreds


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["-H", "-B"], ids=["slow heads", "slow bodies"])
def test_honest_work_goes_on_beside_slow_clients(mode: str, tmp_path: Path) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed: it is a package of Debian")
    with running(tmp_path) as witness:
        assert witness.ask("POST", "/add-checkpoint", submission(0, 1))[0] == 200
        before = witness.memory()
        host, port = witness.public
        options = ["-c", CONNECTIONS, "-r", 400, "-i", 2, "-l", RUN_SECONDS, "-x", 8, "-s", 4096, "-t", "POST"]
        command = [program, mode, *map(str, options), "-u", f"http://{host}:{port}/add-checkpoint"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as attack:
            try:
                cosigned, memory, most = _work(witness, attack)
            finally:
                attack.kill()
        assert cosigned >= FEWEST
        assert memory - before < MAX_GROWTH
        assert 500 <= most <= 1024 + 64 + 100  # connections served, connections refused, and files
        assert witness.ask("POST", "/add-checkpoint", submission(size := min(cosigned + 1, GROWS), size))[0] == 200


def _work(witness: Running, attack: "subprocess.Popen[bytes]") -> tuple[int, float, float]:
    """Cosignatures while the attack lasted, and the memory and the descriptors that it cost at most."""
    cosigned, refused, memory, descriptors = 0, 0, 0.0, 0.0
    while attack.poll() is None:
        # It grows, and then its time is refreshed.
        old, new = (min(size, GROWS) for size in (cosigned + 1, cosigned + 2))
        status, lines = witness.ask("POST", "/add-checkpoint", submission(old, new))
        if status == 200:
            assert len(parse_signature_lines(lines)) == 1
            cosigned += 1
        else:
            # With every connection taken, who comes last is told so at once.
            assert status == 503
            refused += 1
        if not (cosigned + refused) % 20:
            memory = max(memory, witness.memory())
            descriptors = max(descriptors, witness.gauge("process_open_fds"))
    return cosigned, max(memory, witness.memory()), max(descriptors, witness.gauge("process_open_fds"))
