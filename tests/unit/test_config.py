"""Configuration files: strict, and wrong in a way that tells an operator what to change."""

import os
from pathlib import Path

import msgspec
import pytest

from runtime.config import MAX_CONFIG_BYTES, load, resolve
from runtime.errors import UsageError


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    anchor: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    interval: float = 1.0
    peer: tuple[Peer, ...] = ()
    limits: Peer = Peer("limits")
    note: str | None = None


class Lenient(msgspec.Struct, frozen=True):
    name: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def test_a_file_becomes_a_frozen_value(path: Path) -> None:
    path.write_text('name = "é"\ninterval = 2\n[[peer]]\nname = "m2"\nanchor = true\n', encoding="utf-8")
    assert load(path, Settings) == Settings("é", 2.0, (Peer("m2", anchor=True),))


def test_keys_with_a_default_may_be_left_out(path: Path) -> None:
    path.write_text('name = "a"')
    assert load(path, Settings) == Settings("a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the key `name` is missing: add it"),
        ('name = "a"\nintervall = 2', "the key `intervall` is unknown: remove it or correct its spelling"),
        ('name = "a"\n[[peer]]', "the key `name` is missing in `peer[0]`: add it"),
        (
            'name = "a"\n[[peer]]\nname = "b"\n[[peer]]\nname = "c"\nanker = 1',
            "the key `anker` is unknown in `peer[1]`",
        ),
        ("name = 1", "the value of `name` is wrong: expected text in quotes, got a whole number"),
        (
            'name = "a"\npeer = [{name = 2}]',
            "the value of `peer[0].name` is wrong: expected text in quotes, got a whole number",
        ),
        ("name = []", "the value of `name` is wrong: expected text in quotes, got a list in brackets"),
        ('name = "a"\nnote = true', "the value of `note` is wrong: expected text in quotes, got true or false"),
        ('name = "a"\npeer = ["b"]', "the value of `peer[0]` is wrong: expected a table, got text in quotes"),
        ('name = "a"\n[peer]\nname = "b"', "write `[[peer]]`, with two brackets on each side"),
        ('name = "a"\n[[limits]]\nname = "b"', "write `[limits]`, with one bracket on each side"),
        ("name = ", "is not TOML: Invalid value"),
        ('name = "a"\nname = "b"', "is not TOML: Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path, Settings)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_told(path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the configuration file .*: No such file or directory"):
        load(path, Settings)


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="not UTF-8"):
        load(path, Settings)


def test_a_file_too_large_is_refused_unread(path: Path) -> None:
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(UsageError, match="is it a configuration file"):
        load(path, Settings)


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(UsageError, match="is not a file"):
        load(path, Settings)


def test_a_declaration_that_ignores_unknown_keys_is_a_bug(path: Path) -> None:
    path.write_text('name = "a"')
    with pytest.raises(AssertionError):
        load(path, Lenient)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("etc/node.toml"), "../data") == tmp_path / "data"
    assert resolve(Path("/etc/sameview/node.toml"), "key") == Path("/etc/sameview/key")
    assert resolve(Path("/etc/sameview/node.toml"), "/var/key") == Path("/var/key")
