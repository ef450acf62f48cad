"""``keygen`` and ``vkey``: every kind of key, in a file that only its owner reads and that nothing overwrites."""

import stat
from pathlib import Path

import pytest

from runtime.keyfiles import read_signer_key
from tests.commands import Sameview
from tlog.keys import KeyType, VerifierKey

NAME = "log.example/one"


@pytest.mark.parametrize(
    ("role", "algorithm", "type_"),
    [
        ("log", "ed25519", KeyType.ED25519),
        ("log", "mldsa44", KeyType.COSIGNATURE_MLDSA44),
        ("witness", "ed25519", KeyType.COSIGNATURE_ED25519),
        ("witness", "mldsa44", KeyType.COSIGNATURE_MLDSA44),
        ("observer", "ed25519", KeyType.COSIGNATURE_ED25519),
        ("observer", "mldsa44", KeyType.COSIGNATURE_MLDSA44),
        ("peer", "ed25519", KeyType.ED25519),
    ],
)
def test_makes_a_key_of_the_right_type_and_prints_its_vkey(
    sameview: Sameview, tmp_path: Path, role: str, algorithm: str, type_: KeyType
) -> None:
    file = tmp_path / "key"
    ran = sameview("keygen", "--name", NAME, "--type", role, "--algorithm", algorithm, "--out", file)
    assert (ran.code, ran.err) == (0, "")
    key = VerifierKey.parse(ran.out.removesuffix("\n"))
    assert (key.name, key.type, read_signer_key(file).verifier_key) == (NAME, type_, key)
    assert sameview("vkey", file).out == ran.out


def test_keys_are_ed25519_unless_said_otherwise(sameview: Sameview, tmp_path: Path) -> None:
    ran = sameview("keygen", "--name", NAME, "--type", "log", "--out", tmp_path / "key")
    assert VerifierKey.parse(ran.out.strip()).type is KeyType.ED25519


def test_a_key_file_is_one_line_that_only_its_owner_can_read(sameview: Sameview, tmp_path: Path) -> None:
    file = tmp_path / "key"
    sameview("keygen", "--name", NAME, "--type", "log", "--out", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (file.read_text().count("\n"), file.read_text().startswith(f"PRIVATE+KEY+{NAME}+")) == (1, True)


def test_the_secret_is_never_printed(sameview: Sameview, tmp_path: Path) -> None:
    file = tmp_path / "key"
    ran = sameview("keygen", "--name", NAME, "--type", "log", "--out", file)
    secret = file.read_text().strip().split("+", 4)[4]
    assert secret not in ran.out + sameview("vkey", file).out


def test_every_key_is_another_one(sameview: Sameview, tmp_path: Path) -> None:
    made = {sameview("keygen", "--name", NAME, "--type", "log", "--out", tmp_path / str(n)).out for n in range(5)}
    assert len(made) == 5


def test_a_file_that_exists_is_never_overwritten(sameview: Sameview, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("precious")
    ran = sameview("keygen", "--name", NAME, "--type", "log", "--out", file)
    assert (ran.code, ran.out, file.read_text()) == (2, "", "precious")
    assert "key files are never overwritten: choose another name" in ran.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--type", "peer", "--algorithm", "mldsa44"], "a peer key is always ed25519: leave --algorithm out"),
        (["--type", "log", "--algorithm", "rsa"], "'rsa' is not one of"),
        (["--type", "log", "--name", ""], "--name must be"),
        (["--type", "log", "--name", "a b"], "--name must be"),
        (["--type", "log", "--name", "a+b"], "--name must be"),
        (["--type", "log", "--name", "a\u2003b"], "--name must be"),
        (["--type", "log", "--name", "a\nb"], "--name must be"),
        (["--type", "log", "--name", "a\x1bb"], "--name must be"),
        (["--type", "log", "--name", "a\udcffb"], "--name must be"),
        (["--type", "log", "--name", "a" * 256], "--name must be"),
        (["--type", "witness", "--algorithm", "mldsa44", "--name", "ä" * 128], "--name must be"),
        (["--type", "log", "--out", "none/key"], "the directory none does not exist: make it first"),
    ],
)
def test_what_makes_no_key_ends_with_2_and_leaves_no_file(
    sameview: Sameview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = sameview("keygen", "--name", NAME, "--out", "key", *options)
    assert (ran.code, ran.out, sentence in ran.err) == (2, "", True)
    assert list(tmp_path.iterdir()) == []


def test_the_vkey_of_a_file_that_others_can_read_is_refused(sameview: Sameview, tmp_path: Path) -> None:
    file = tmp_path / "key"
    sameview("keygen", "--name", NAME, "--type", "log", "--out", file)
    for mode in (0o640, 0o604, 0o660):
        file.chmod(mode)
        ran = sameview("vkey", file)
        assert (ran.code, ran.out, f"run `chmod 600 {file}`" in ran.err) == (2, "", True)


def test_what_is_no_key_file_ends_with_2_and_is_not_repeated(sameview: Sameview, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert "does not exist: correct the path, or make one with `sameview keygen" in sameview("vkey", file).err
    file.touch(0o600)
    file.write_text("PRIVATE+KEY+secret\n")
    ran = sameview("vkey", file)
    assert (ran.code, ran.out, "secret" in ran.err) == (2, "", False)
    assert sameview("vkey", tmp_path).code == 2
