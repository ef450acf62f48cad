"""A witness process in the hands of its operator: the test kit as a command, and two logs of ours that it cosigns."""

import subprocess
from contextlib import AsyncExitStack
from hashlib import sha256
from json import loads
from pathlib import Path
from xml.etree import ElementTree

import trio

from runtime.client import Client
from sameview.conformance.cases import CASES
from tests.e2e import log_process
from tests.e2e.witness_process import KEY, NAME, SECONDS, Running, command, running
from tests.keys import log_key, mldsa_key
from tlog.keys import SignerKey, VerifierKey
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.quorum import Group
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import Trust

KIT = "kit.example/log"
PATIENCE = 60.0


def ran(*words: object, timeout: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=timeout, check=False)


def keygen(file: Path, algorithm: str = "ed25519") -> str:
    """Make a key for the kit's log as docs/conformance.md says; the vkey that is printed."""
    made = ran("keygen", "--name", KIT, "--type", "log", "--algorithm", algorithm, "--out", file)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def conformance(witness: Running, keys: list[SignerKey], log_keys: list[Path], *options: object) -> ElementTree.Element:
    """Run the kit; its JUnit document, when its exit code is 0 and its JSON document says the same."""
    vkeys = [word for key in keys for word in ("--vkey", key.verifier_key)]
    files = [word for file in log_keys for word in ("--log-key", file)]
    junit = log_keys[0].with_suffix(".xml")
    done = ran("conformance", "witness", witness.url, *vkeys, *files, "--json", "--junit", junit, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    document = loads(done.stdout)
    assert document["holds"]
    assert {case["name"] for case in document["cases"]} == {case.name for case in CASES}
    (suite,) = ElementTree.fromstring(junit.read_bytes())
    assert suite.get("tests") == str(len(CASES))
    assert [suite.get("failures"), suite.get("errors")] == ["0", "0"]
    return suite


def skipped(suite: ElementTree.Element) -> set[str | None]:
    return {case.get("name") for case in suite.findall("testcase") if case.find("skipped") is not None}


def test_the_kit_as_a_command_passes_our_witness_process_in_every_case(tmp_path: Path) -> None:
    files = [tmp_path / "one.key", tmp_path / "two.key"]
    vkeys = [VerifierKey.parse(keygen(file)) for file in files]
    keys = [KEY, mldsa_key(NAME)]
    with running(tmp_path, vkeys, keys) as witness:
        assert skipped(conformance(witness, keys, files)) == set()


def test_a_log_key_that_a_command_registers_while_the_witness_runs_will_do(tmp_path: Path) -> None:
    file = tmp_path / "kit.key"
    vkey = keygen(file)
    with running(tmp_path) as witness:
        unknown = ran("conformance", "witness", witness.url, "--vkey", KEY.verifier_key, "--log-key", file)
        assert (unknown.returncode, unknown.stdout) == (2, "")
        assert "does not know the log" in unknown.stderr
        added = ran("witness", "add-log", "--config", tmp_path / "witness.toml", vkey)
        assert added.returncode == 0, added.stderr
        while KIT not in sizes(witness):
            pass  # it looks for changes twice a second
        assert skipped(conformance(witness, [KEY], [file])) == {
            *("second-log-key", "public-copy-second-log-key", "known-key-fails", "ml-dsa-44")
        }


def sizes(witness: Running) -> dict[str, int | None]:
    """The size of each known log that was cosigned last."""
    logs = loads(witness.ask("GET", "/v1/logs")[1])["logs"]
    return {log["origin"]: log["size"] for log in logs}


# Two logs of ours.

LOG_KEYS = [log_key(f"log.example/{number}") for number in ("one", "two")]
ROUNDS = 3


def policy_of(log: SignerKey, witness: Running) -> Policy:
    """Nothing is published that this witness has not cosigned."""
    lines = (PolicyWitness("w", KEY.verifier_key, witness.url),)
    return Policy((PolicyLog(log.verifier_key),), lines, (Group("g", 1, ("w",)),), "g")


async def grown(client: Client, url: str, entry: bytes, trust: Trust) -> SignedCheckpoint:
    """Add an entry, and wait for the cosigned checkpoint that covers it."""
    index = int((await client.fetch("POST", f"{url}/add", body=entry, cap=100, seconds=SECONDS)).body)
    while True:
        answer = await client.fetch("GET", f"{url}/checkpoint", cap=100_000, seconds=SECONDS)
        if answer.status == 200 and (head := trust.open(answer.body).require()).size > index:
            return head
        await trio.sleep(0.01)


async def test_two_logs_of_ours_grow_under_one_witness(tmp_path: Path) -> None:
    for name in ("w", "one", "two"):
        (tmp_path / name).mkdir()
    homes = dict(zip((tmp_path / "one", tmp_path / "two"), LOG_KEYS, strict=True))
    with running(tmp_path / "w", [key.verifier_key for key in LOG_KEYS]) as witness, trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            urls: dict[str, str] = {}
            for home, key in homes.items():
                log_process.configure(home, policy_of(key, witness), "publish_interval = 0.05\n", key)
                await log_process.init(home)
                urls[key.name], _ = await stack.enter_async_context(log_process.running(home))
            client = await stack.enter_async_context(Client())
            heads: dict[str, SignedCheckpoint] = {}

            async def grow(key: SignerKey) -> None:
                trust = Trust((), None, policy_of(key, witness))
                for number in range(ROUNDS):
                    heads[key.name] = await grown(client, urls[key.name], b"%s %d" % (key.name.encode(), number), trust)

            async with trio.open_nursery() as both:
                for key in LOG_KEYS:
                    both.start_soon(grow, key)
        assert sizes(witness) == {key.name: ROUNDS for key in LOG_KEYS}
        assert len({head.root_hash for head in heads.values()}) == 2
        for key in LOG_KEYS:
            status, copy = witness.ask("GET", f"/{sha256(key.name.encode()).hexdigest()}/checkpoint")
            shown = Trust((), None, policy_of(key, witness)).open(copy).require()
            assert (status, shown.checkpoint) == (200, heads[key.name].checkpoint)
