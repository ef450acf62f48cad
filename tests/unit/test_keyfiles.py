"""Key files: written once, readable by one, and quiet about what is in them."""

import os
from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.keyfiles import MAX_KEY_FILE_BYTES, new_signer_key, read_signer_key, write_signer_key
from tlog.keys import KeyType, SignerKey

KEY = SignerKey("witness.example/w1", KeyType.COSIGNATURE_ED25519, bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_signer_key(tmp_path / "w1.key", KEY)
    return tmp_path / "w1.key"


@pytest.mark.parametrize("type", [KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44])
def test_what_was_written_is_read(tmp_path: Path, type: KeyType) -> None:
    key = new_signer_key("witness.example/w1", type)
    write_signer_key(tmp_path / "key", key)
    assert read_signer_key(tmp_path / "key") == key


def test_a_key_file_is_one_line(path: Path) -> None:
    assert path.read_text() == KEY.format() + "\n"


def test_new_keys_differ() -> None:
    assert new_signer_key("a", KeyType.ED25519) != new_signer_key("a", KeyType.ED25519)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_key_file_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_signer_key(tmp_path / "key", KEY)
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_overwritten(path: Path) -> None:
    with pytest.raises(UsageError, match="never overwritten"):
        write_signer_key(path, new_signer_key("other", KeyType.ED25519))
    assert read_signer_key(path) == KEY


def test_a_link_is_not_followed_to_write_a_key(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never overwritten"):
        write_signer_key(tmp_path / "link", KEY)
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_left_where_a_key_could_not_be_written(path: Path) -> None:
    with pytest.raises(UsageError):
        write_signer_key(path, KEY)
    assert [entry.name for entry in path.parent.iterdir()] == ["w1.key"]


def test_a_key_for_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"the directory {tmp_path}/nowhere does not exist: make it first"):
        write_signer_key(tmp_path / "nowhere" / "key", KEY)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write the key file .*: Not a directory"):
        write_signer_key(tmp_path / "file" / "key", KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644, 0o601, 0o610])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"run `chmod 600 {path}`"):
        read_signer_key(path)


def test_of_what_is_no_key_nobody_is_told_to_change_the_mode(path: Path) -> None:
    path.write_bytes(b"log log.example/one+01020304+AAAA\nquorum none\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="is not a key file"):
        read_signer_key(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_that_only_its_owner_can_read_is_read(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read_signer_key(path) == KEY


def test_a_missing_key_is_told_how_to_make(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="make one with `sameview keygen"):
        read_signer_key(tmp_path / "none.key")


def test_a_key_that_cannot_be_read_says_why(path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the key file .*: Not a directory"):
        read_signer_key(path / "below")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n", id="empty-line"),
        pytest.param(KEY.verifier_key.format().encode() + b"\n", id="public-key"),
        pytest.param(KEY.format().encode() + b"\n\n", id="two-lines"),
        pytest.param(KEY.format().encode() + b" \n", id="space-at-the-end"),
        pytest.param(KEY.format().encode() + b"\r\n", id="carriage-return"),
        pytest.param(b"\xff" + KEY.format().encode(), id="not-utf-8"),
        pytest.param(KEY.format().encode() + b"x" * MAX_KEY_FILE_BYTES, id="too-long"),
        pytest.param(KEY.format().encode().replace(b"w1", b"w2"), id="another-name"),
    ],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_signer_key(path)
    message = str(caught.value)
    assert "is not a key file" in message
    assert KEY.format().rpartition("+")[2] not in message
    assert caught.value.__cause__ is None


def test_the_line_feed_may_be_missing(path: Path) -> None:
    path.write_text(KEY.format())
    assert read_signer_key(path) == KEY


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UsageError, match="is not a file"):
        read_signer_key(tmp_path / "pipe")
