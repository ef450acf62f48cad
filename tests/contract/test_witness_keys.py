"""A witness's keys over time: overlap, retirement by a date, and what is refused when they are exchanged by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from runtime.errors import UsageError
from runtime.keyfiles import read_signer_key, write_signer_key
from runtime.metrics import Metrics
from sameview.commands.witness import witness as command_line
from tests.fakes import FakeClock
from tests.keys import cosign, log_key, mldsa_key, sign_checkpoint, witness_key
from tests.nodes import open_witness, witness_settings
from tests.served import served
from tests.witness_logs import LOG, LOGS, NAME, ORIGIN, PUBLIC, signed, submission
from tlog.checkpoint import Checkpoint
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.retirement import SignedRetirement
from tlog.signed_checkpoint import open_checkpoint
from witness.__main__ import create
from witness.app import witness_app
from witness.config import WitnessSettings, read_settings
from witness.cosigner import Cosigned, NoKey
from witness.rotation import retire, rotate

DAY = 86_400
OLD, SECOND, MLDSA44 = witness_key(NAME), witness_key(NAME, seed=2), mldsa_key(NAME)


async def start(directory: Path, keys: Sequence[SignerKey], clock: FakeClock, old: int, new: int) -> list[VerifierKey]:
    """Start a witness with these keys, cosign something, and tell who signed."""
    async with open_witness(directory, LOGS, keys, clock) as cosigner:
        answer = await cosigner.add_checkpoint(submission(old, new))
        if not isinstance(answer, Cosigned):
            return []
        trusted = [key.verifier_key for key in (OLD, SECOND, MLDSA44, *keys)]
        return [one.key for one in open_checkpoint(signed(new).raw + answer.lines, trusted).signatures]


def settings_file(directory: Path, **more: str) -> Path:
    write_signer_key(directory / "w1.key", OLD)
    keys = more.pop("keys", '["w1.key"]')
    lines = [f'name = "{NAME}"', 'data = "data"', 'register = "register"', f"keys = {keys}"]
    lines += [f"{key} = {value}" for key, value in more.items() if key != "log"]
    lines += ["[[log]]", f'vkey = "{more.get("log", LOG.verifier_key.format())}"']
    (directory / "w.toml").write_text("\n".join(lines) + "\n")
    return directory / "w.toml"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command_line, arguments)
    if isinstance(result.exception, UsageError):
        return 2, str(result.exception)
    return result.exit_code, result.output


async def test_during_a_rotation_both_keys_sign_and_from_its_date_only_the_new_one(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = witness_settings(tmp_path, LOGS, [OLD])
    await create(settings)
    new = await rotated(settings, tmp_path / "new.key", clock.now() + DAY, clock)
    assert await start(tmp_path, [OLD, new], clock, 0, 5) == [OLD.verifier_key, new.verifier_key]
    clock.advance(DAY - 1)
    assert await start(tmp_path, [OLD, new], clock, 5, 6) == [OLD.verifier_key, new.verifier_key]
    clock.advance(1)
    assert await start(tmp_path, [OLD, new], clock, 6, 7) == [new.verifier_key]
    assert await start(tmp_path, [new], clock, 7, 8) == [new.verifier_key]


async def rotated(settings: WitnessSettings, out: Path, retires: int, clock: FakeClock) -> SignerKey:
    rotation = await trio.to_thread.run_sync(rotate, settings, KeyType.COSIGNATURE_ED25519, out, retires, clock)
    assert read_signer_key(out) == rotation.new
    return rotation.new


async def test_an_announced_key_is_asked_for_and_listed(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = witness_settings(tmp_path, LOGS, [OLD])
    await create(settings)
    new = await rotated(settings, tmp_path / "new.key", clock.now() + DAY, clock)
    async with open_witness(tmp_path, LOGS, [OLD], clock) as cosigner:
        [problem] = await cosigner.problems()
        assert problem.startswith(f"the key {new.verifier_key.format()} was announced and is not in `keys`")
        assert set(cosigner.keyring.recorded) == {OLD.verifier_key.format(), new.verifier_key.format()}
        clock.advance(DAY)
        assert await cosigner.add_checkpoint(submission(0, 5)) == NoKey()
        assert any("every key in `keys` has retired" in problem for problem in await cosigner.problems())


async def test_a_second_key_of_one_algorithm_needs_a_rotation(tmp_path: Path) -> None:
    await create(witness_settings(tmp_path, LOGS, [OLD]))
    with pytest.raises(UsageError, match="rotate-key"):
        await start(tmp_path, [OLD, SECOND], FakeClock(), 0, 5)


async def test_a_key_that_signed_does_not_disappear(tmp_path: Path) -> None:
    await create(witness_settings(tmp_path, LOGS, [OLD]))
    await start(tmp_path, [OLD], FakeClock(), 0, 5)
    with pytest.raises(UsageError, match=r"signed before and is not in `keys`.*rotate-key.*retire"):
        await start(tmp_path, [SECOND], FakeClock(), 5, 6)
    assert await start(tmp_path, [OLD, MLDSA44], FakeClock(), 5, 6) == [OLD.verifier_key, MLDSA44.verifier_key]


async def test_the_copy_signed_by_an_old_key_is_still_one_of_ours(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = witness_settings(tmp_path, LOGS, [OLD])
    await create(settings)
    await start(tmp_path, [OLD], clock, 0, 5)
    new = await rotated(settings, tmp_path / "new.key", clock.now() + DAY, clock)
    clock.advance(DAY)
    async with open_witness(tmp_path, LOGS, [new], clock) as cosigner:
        assert await cosigner.problems() == []
        copy = await cosigner.public_copy(PUBLIC[1:65])
        assert copy is not None
        # It was stated before the new key took over, so saying it again is saying the same.
        assert open_checkpoint(copy, [new.verifier_key]).signatures[0].timestamp == clock.now() - DAY


async def test_a_checkpoint_that_no_key_can_sign_is_refused_before_it_is_recorded(tmp_path: Path) -> None:
    """SPEC: W-22, CS-11 an answer without a line would be none."""
    await create(witness_settings(tmp_path, LOGS, [MLDSA44]))
    head = signed(5).checkpoint
    note = sign_checkpoint(Checkpoint(head.origin, head.size, head.root_hash, (b"extension",)), LOG)
    async with open_witness(tmp_path, LOGS, [MLDSA44], FakeClock()) as cosigner:
        assert await cosigner.add_checkpoint(b"old 0\n\n" + note) == NoKey()
        assert await cosigner.heads() == []


def test_rotating_by_command(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    command = ("rotate-key", "--config", str(config))
    assert run(*command, "--out", str(tmp_path / "early.key"), "--retire-on", "2200-01-01")[0] == 2
    assert run("init", "--config", str(config))[0] == 0
    code, output = run(*command, "--out", str(tmp_path / "new.key"), "--retire-on", "2200-01-01")
    assert code == 0
    assert output.startswith(read_signer_key(tmp_path / "new.key").verifier_key.format())
    assert "the old key signs until 2200-01-01" in output
    for out, day, algorithm, reason in (
        ("b.key", "2200-01-01", "ed25519", "has a date of retirement already"),
        ("b.key", "2000-01-01", "ed25519", "the date has passed"),
        ("b.key", "2200-01-01", "mldsa44", "no key of this algorithm"),
    ):
        refused = run(*command, "--out", str(tmp_path / out), "--retire-on", day, "--algorithm", algorithm)
        assert refused[0] == 2
        assert reason in refused[1]
    assert not (tmp_path / "b.key").exists()


def test_one_rotation_at_a_time(tmp_path: Path) -> None:
    write_signer_key(tmp_path / "w2.key", MLDSA44)
    config = settings_file(tmp_path, keys='["w1.key", "w2.key"]')
    run("init", "--config", str(config))
    command = ("rotate-key", "--config", str(config), "--retire-on", "2200-01-01")
    assert run(*command, "--out", str(tmp_path / "a.key"))[0] == 0
    code, output = run(*command, "--out", str(tmp_path / "b.key"), "--algorithm", "mldsa44")
    assert code == 2
    assert "was announced before" in output


def test_retiring_by_command(tmp_path: Path) -> None:
    write_signer_key(tmp_path / "w2.key", MLDSA44)
    config = settings_file(tmp_path, keys='["w1.key", "w2.key"]')
    code, output = run("retire", "--config", str(config), "--out", str(tmp_path / "new"))
    assert code == 0
    records = {file.name: SignedRetirement.parse(file.read_bytes()) for file in (tmp_path / "new").glob("*.retirement")}
    successors = tuple(read_signer_key(tmp_path / "new" / name).verifier_key for name in ("w1.key", "w2.key"))
    for name, old in (("w1.key.retirement", OLD), ("w2.key.retirement", MLDSA44)):
        records[name].verify()
        assert records[name].retirement.retired == old.verifier_key
        assert records[name].retirement.successors == successors
        assert old.verifier_key.format() in output
    # The old configuration does not start any more, and nothing was deleted.
    with pytest.raises(UsageError, match=r"w1\.key does not exist"):
        read_settings(config)
    assert read_signer_key(tmp_path / "w1.key.retired") == OLD


async def test_a_running_witness_is_not_retired(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    settings = read_settings(config)
    await create(settings)
    async with open_witness(tmp_path, LOGS, [OLD], FakeClock()):
        with pytest.raises(UsageError, match="is in use by process"):
            retire(settings, tmp_path / "new", FakeClock())
    assert (tmp_path / "w1.key").exists()
    assert not (tmp_path / "new").exists()


# Names and keys tell roles apart.


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"keys": "[]"}, "`keys` is empty"),
        ({"keys": '["w1.key", "w1.key"]'}, "names one key twice"),
        ({"keys": '["log.key"]'}, "is not a witness key"),
        ({"keys": '["other.key"]'}, "is named witness.example/two"),
        ({"peers": '["witness.example"]'}, "`peers` names something that is not a URL"),
        ({"url": '"ftp://witness.example"'}, "`url` names something that is not a URL"),
        ({"history_days": "0"}, "history_days"),
        ({"log": OLD.verifier_key.format()}, "a witness's cosignature key cannot be a log's key"),
        ({"log": mldsa_key(NAME, seed=3).verifier_key.format()}, "the witness's own name or key"),
        ({"log": "log.example/one+00000000+AAAA"}, "number 1"),
        ({"log": f'{LOG.verifier_key.format()}"\n[[log]]\nvkey = "{LOG.verifier_key.format()}'}, "given twice"),
        ({"log": f'{LOG.verifier_key.format()}"\norigin = "{NAME}'}, "the witness's own name or key"),
    ],
)
def test_a_configuration_that_mixes_roles_is_refused(more: dict[str, str], reason: str, tmp_path: Path) -> None:
    """SPEC: CS-13, CS-18"""
    write_signer_key(tmp_path / "log.key", log_key(NAME))
    write_signer_key(tmp_path / "other.key", witness_key("witness.example/two"))
    with pytest.raises(UsageError) as refused:
        read_settings(settings_file(tmp_path, **more))
    assert reason in str(refused.value)


def test_peers_and_our_own_url_are_read(tmp_path: Path) -> None:
    more = {"peers": '["https://peer.example/w1/"]', "url": '"https://witness.example"', "history_days": "7"}
    settings = read_settings(settings_file(tmp_path, **more))
    assert settings.peers == ("https://peer.example/w1",)
    assert (settings.url, settings.history_days) == ("https://witness.example", 7)


async def test_a_line_forged_under_our_own_name_changes_nothing(tmp_path: Path) -> None:
    """SPEC: W-9, W-42"""
    await create(witness_settings(tmp_path, LOGS, [OLD]))
    forged = cosign(signed(5).raw, witness_key(NAME, seed=9))
    async with open_witness(tmp_path, LOGS, [OLD], FakeClock()) as cosigner:
        assert isinstance(await cosigner.add_checkpoint(b"old 0\n\n" + forged), Cosigned)
        copy = await cosigner.public_copy(PUBLIC[1:65])
        assert copy is not None
        assert copy.count("\N{EM DASH}".encode()) == 2
        assert open_checkpoint(copy, [OLD.verifier_key]).origin == ORIGIN


async def test_over_http_each_reason_not_to_sign_has_its_answer(tmp_path: Path) -> None:
    clock = FakeClock()
    await create(witness_settings(tmp_path, LOGS, [MLDSA44]))
    head = signed(5).checkpoint
    extended = sign_checkpoint(Checkpoint(head.origin, head.size, head.root_hash, (b"extension",)), LOG)
    async with (
        open_witness(tmp_path, LOGS, [MLDSA44], clock) as cosigner,
        served(witness_app(cosigner, Metrics())) as ours,
    ):
        assert (await ours.post("/add-checkpoint", b"old 0\n\n" + extended)).status == 400
        cosigner.hold = "it has moved: try again later"
        held = await ours.post("/add-checkpoint", submission(0, 5))
        assert (held.status, held.body, held.headers["retry-after"]) == (503, b"it has moved: try again later\n", "60")
        keys = json.loads((await ours.get("/v1/keys")).body)["keys"]
        assert keys == [{"vkey": MLDSA44.verifier_key.format(), "retires": None}]
