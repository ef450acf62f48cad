"""``log.toml``: everything that is wrong with it is said in a sentence that names the key."""

import tomllib
from pathlib import Path

import pytest

from logserver.config import LogConfig, LogSettings, read_settings
from runtime.errors import UsageError
from runtime.keyfiles import write_signer_key
from tests.keys import log_key, mldsa_key, witness_key
from tlog.keys import SignerKey
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.quorum import Group

ORIGIN = "log.example/one"
LOG, MLDSA = log_key(ORIGIN), mldsa_key(ORIGIN)
COMPLETE = {"origin": f'"{ORIGIN}"', "data": '"data"', "register": '"register"', "keys": '["log.key"]'}
KEYS: dict[str, SignerKey] = {
    "log.key": LOG,
    "mldsa.key": MLDSA,
    "other.key": log_key("log.example/two"),
    "second.key": log_key(ORIGIN, seed=2),
    "witness.key": witness_key(ORIGIN),
}

POSTGRESQL = '"postgresql://one.example/log"'
TOKEN = f'{{name = "ci", token_sha256 = "{"ab" * 32}", adds_per_second = 5}}'
SHARED = {"database": POSTGRESQL, "register": '"postgresql://two.example/register"'}


def read(directory: Path, **keys: str | None) -> LogSettings:
    for name, key in KEYS.items():
        write_signer_key(directory / name, key)
    document = {name: value for name, value in (COMPLETE | keys).items() if value is not None}
    (directory / "log.toml").write_text("".join(f"{name} = {value}\n" for name, value in document.items()))
    return read_settings(directory / "log.toml")


def policy(directory: Path, *witnesses: PolicyWitness, log: SignerKey | None = LOG, threshold: int = 1) -> str:
    logs = (PolicyLog(log.verifier_key),) if log else ()
    names = tuple(witness.name for witness in witnesses)
    group = (Group("q", threshold, names),) if names else ()
    (directory / "policy.txt").write_bytes(Policy(logs, witnesses, group, "q" if names else None).format())
    return '"policy.txt"'


def test_what_is_left_out_has_the_documented_value(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings == LogSettings(
        origin=ORIGIN,
        listen="127.0.0.1:8080",
        operator_listen="127.0.0.1:8090",
        data=tmp_path / "data",
        database=tmp_path / "data" / "log.sqlite",
        public=tmp_path / "data" / "public",
        register=tmp_path / "register",
        keys=(LOG,),
        policy=None,
        on_missing_quorum="hold",
        publish_interval=1.0,
        refresh_interval=60.0,
        history_days=None,
        dedup="all",
        adds_per_second=0.0,
        submitters_only=False,
        submitters=(),
        trim=False,
        gzip_bundles=False,
    )


def test_paths_are_relative_to_the_file_and_keys_keep_their_order(tmp_path: Path) -> None:
    settings = read(tmp_path, keys='["mldsa.key", "log.key"]', public='"../served"', register='"/elsewhere/register"')
    assert settings.keys == (MLDSA, LOG)
    assert (settings.public, settings.register) == (tmp_path.parent / "served", Path("/elsewhere/register"))


def test_a_log_of_several_processes_has_nothing_on_its_own_disk(tmp_path: Path) -> None:
    settings = read(tmp_path, data=None, storage='"s3://bucket/log"', **SHARED)
    assert settings.data is None
    assert settings.database == "postgresql://one.example/log"
    assert (settings.public, settings.register) == ("s3://bucket/log", "postgresql://two.example/register")


def test_the_register_of_one_process_may_be_elsewhere(tmp_path: Path) -> None:
    assert read(tmp_path, register='"s3://elsewhere/log"').register == "s3://elsewhere/log"


def test_a_policy_with_reachable_witnesses_is_read(tmp_path: Path) -> None:
    witness = PolicyWitness("w1", witness_key().verifier_key, "http://127.0.0.1:1")
    settings = read(tmp_path, policy=policy(tmp_path, witness), on_missing_quorum='"publish"')
    assert settings.policy is not None
    assert (settings.policy.witnesses, settings.on_missing_quorum) == ((witness,), "publish")


@pytest.mark.parametrize("key", sorted({*COMPLETE} - {"data"}))
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"the key `{key}` is missing"):
        read(tmp_path, **{key: None})


WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "unknown key": ({"colour": '"red"'}, "the key `colour` is unknown"),
    "origin of another type": ({"origin": "5"}, "`origin`"),
    "empty origin": ({"origin": '""'}, "`origin`: "),
    "origin of two lines": ({"origin": '"a\\nb"'}, "`origin`: "),
    "no address": ({"operator_listen": '"127.0.0.1"'}, "`operator_listen`: 127.0.0.1 is not an address to listen on"),
    "one address": ({"listen": '"127.0.0.1:8090"'}, "are the same address"),
    "no key": ({"keys": "[]"}, "`keys` needs an Ed25519 log key"),
    "no Ed25519 key": ({"keys": '["mldsa.key"]'}, "`keys` needs an Ed25519 log key"),
    "absent key file": ({"keys": '["absent.key"]'}, "does not exist"),
    "key of another name": (
        {"keys": '["other.key"]'},
        rf"log\.toml: `keys`: other\.key is named .* make one with --name {ORIGIN}",
    ),
    "two Ed25519 keys": ({"keys": '["log.key", "second.key"]'}, "two keys of one algorithm"),
    "a witness's key": ({"keys": '["log.key", "witness.key"]'}, r"log\.toml: `keys`: witness\.key is not a log key"),
    "no database": ({"database": '"mysql://127.0.0.1/log"'}, '`database` is "sqlite" or a URL like'),
    "nowhere for the database": ({"data": None}, "`data` is missing"),
    "nowhere for the public files": ({"data": None, **SHARED}, "`public` is missing"),
    "no storage": ({"storage": '"ftp://bucket"'}, '`storage` is "file" or a URL like'),
    "a storage without a bucket": ({"storage": '"s3://"'}, "`storage`: object storage is named like"),
    "files to compress": ({"gzip_bundles": "true"}, "`gzip_bundles` is for a `storage` of objects"),
    "two public places": ({"storage": '"s3://bucket"', "public": '"p"'}, "leave one of them out"),
    "a register of another kind": ({"register": '"redis://127.0.0.1"'}, "`register` is a path, or a URL of"),
    "a register in no bucket": ({"register": '"s3://b/p?q"'}, "`register`: object storage is named like"),
    "a register of one machine": ({"database": POSTGRESQL}, "in another PostgreSQL cluster, or s3://"),
    "a register in the database": ({"database": POSTGRESQL, "register": POSTGRESQL}, "where the log itself is"),
    "a register in the database under another name": (
        {"database": '"postgresql://log@db/log"', "register": '"postgresql://other:x@DB:5432/log?ssl=require"'},
        "where the log itself is",
    ),
    "no number of entries": ({"adds_per_second": "nan"}, "adds_per_second"),
    "a register in the storage with a slash": (
        {"storage": '"s3://b/log/"', "register": '"s3://b/log"'},
        "where the log itself is",
    ),
    "a register in the storage": ({"storage": '"s3://b/log"', "register": '"s3://b/log"'}, "where the log itself is"),
    "a served register": ({"storage": '"s3://b/log"', "register": '"s3://b/log/r"'}, "`register` is below `storage`"),
    "a memory that is not shared": ({**SHARED, "dedup": '"recent"'}, "is in the memory of one process"),
    "register in the data": ({"register": '"data/register"'}, "`register` and `data` must be apart"),
    "data in the register": ({"data": '"register/data"'}, "`register` and `data` must be apart"),
    "one place for both": ({"register": '"data"'}, "`register` and `data` must be apart"),
    "register in the public folder": ({"public": '"p"', "register": '"p/r"'}, "`register` and `public` must be apart"),
    "data in the public folder": ({"public": '"."', "register": '"../r"'}, "`public` must not contain `data`"),
    "no interval": ({"publish_interval": "0"}, "`publish_interval` must be between 0.01 and 86400"),
    "an endless interval": ({"publish_interval": "inf"}, "`publish_interval` must be between"),
    "no number": ({"refresh_interval": "nan"}, "`refresh_interval` must be between"),
    "no history": ({"history_days": "0"}, "`history_days`"),
    "no word": ({"on_missing_quorum": '"wait"'}, "`on_missing_quorum`"),
    "no dedup": ({"dedup": "true"}, "`dedup`"),
    "no digest": ({"submitter": '[{name = "a", token_sha256 = "secret"}]'}, "is not 64 hexadecimal digits"),
    "two submitters of one name": ({"submitter": f"[{TOKEN}, {TOKEN}]"}, "an earlier one of this `name`"),
    "one token twice": ({"submitter": f"[{TOKEN}, {TOKEN.replace('ci', 'cd')}]"}, "an earlier one with this token"),
    "nobody": ({"submitters_only": "true"}, "nobody could add"),
    "a negative rate": ({"adds_per_second": "-1"}, "`adds_per_second`"),
    "no policy file": ({"policy": '"absent.txt"'}, "`policy`: cannot read"),
    "a policy that is none": ({"policy": '"log.key"'}, "policy line 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, tmp_path: Path) -> None:
    keys, sentence = WRONG[name]
    with pytest.raises(UsageError, match=sentence):
        read(tmp_path, **keys)


def test_a_policy_of_other_logs_is_refused_with_the_line_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names other logs only: add the line `log log\.example/one"):
        read(tmp_path, policy=policy(tmp_path, log=KEYS["other.key"]))


def test_a_policy_need_not_name_its_log(tmp_path: Path) -> None:
    assert read(tmp_path, policy=policy(tmp_path, log=None)).policy == Policy((), (), (), None)


def test_a_policy_that_no_witness_with_a_url_can_meet_is_refused(tmp_path: Path) -> None:
    near = PolicyWitness("w1", witness_key("w1").verifier_key, "http://127.0.0.1:1")
    far = PolicyWitness("w2", witness_key("w2").verifier_key)
    with pytest.raises(UsageError, match="cannot be met"):
        read(tmp_path, policy=policy(tmp_path, near, far, threshold=2))


def test_a_log_is_not_its_own_witness(tmp_path: Path) -> None:
    itself = PolicyWitness("w1", MLDSA.verifier_key, "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="cannot witness itself"):
        read(tmp_path, policy=policy(tmp_path, itself), keys='["log.key", "mldsa.key"]')


def test_no_sentence_shows_a_private_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, policy='"log.key"')
    assert "PRIVATE" not in str(raised.value)


def test_the_manual_s_configuration_is_accepted_and_names_every_key(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "log.md").read_text()
    (tmp_path / "log.toml").write_text(manual.split("```toml\n")[1].split("```")[0])
    write_signer_key(tmp_path / "log-ed25519.key", LOG)
    write_signer_key(tmp_path / "log-mldsa44.key", MLDSA)
    policy(tmp_path)
    settings = read_settings(tmp_path / "log.toml")
    assert settings.keys == (LOG, MLDSA)
    # What it says beside these two is said in its own section.
    named = set(tomllib.loads((tmp_path / "log.toml").read_text())) | {"database", "storage", "gzip_bundles"}
    assert [submitter.name for submitter in settings.submitters] == ["build-farm"]
    assert named == set(LogConfig.__struct_fields__)
