"""Watches as they are configured: each rule, in the logs it is for, and what is wrong named by its key."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from monitor.watch import CertificateNames, Digests, JsonPath, ModulePaths, Pattern, Substring
from monitor.watchlist import MAX_LIST_BYTES, ListedWatch, WatchConfig, read_watches
from runtime.errors import UsageError

KINDS = {"log.example/one": "tiles", "ct.example/2026": "static-ct", "go.sum database tree": "sumdb"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "digests.txt").write_text("ab" * 32 + "  file\n")
    (tmp_path / "large.txt").write_text("#" * (MAX_LIST_BYTES + 1))
    return tmp_path


def read(folder: Path, keys: Mapping[str, object], kinds: Mapping[str, str] = KINDS) -> ListedWatch:
    entry = msgspec.convert({"name": "w", **keys}, WatchConfig)
    [found] = read_watches(folder / "monitor.toml", [entry], kinds)
    return found


@pytest.mark.parametrize(
    ("keys", "rule", "origins"),
    [
        ({"substring": "x"}, Substring, set(KINDS)),
        ({"regex": "x+"}, Pattern, set(KINDS)),
        ({"json_path": "$.a"}, JsonPath, set(KINDS)),
        ({"json_path": "$.a", "equals": 1}, JsonPath, set(KINDS)),
        ({"json_path": "$.a", "matches": "x"}, JsonPath, set(KINDS)),
        ({"x509_names": [".example.com"]}, CertificateNames, {"ct.example/2026"}),
        ({"module_paths": ["example.com/*"]}, ModulePaths, {"go.sum database tree"}),
        ({"digests": "digests.txt", "logs": ["log.example/one"]}, Digests, {"log.example/one"}),
    ],
)
def test_each_rule_is_for_the_logs_it_can_read(
    folder: Path, keys: dict[str, object], rule: type, origins: set[str]
) -> None:
    found = read(folder, keys)
    assert isinstance(found.watch.rule, rule)
    assert found.origins == origins


BEGINNINGS: list[dict[str, object]] = [{}, {"since": "now"}, {"since": 7}]


def test_a_watch_begins_now_unless_it_says_where(folder: Path) -> None:
    found = [read(folder, {"substring": "x", **keys}).watch.since for keys in BEGINNINGS]
    assert found == [None, None, 7]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({}, "`substring`"),
        ({"substring": "x", "regex": "y"}, "`substring`"),
        ({"substring": ""}, "`substring`"),
        ({"substring": "x", "equals": 1}, "`equals`"),
        ({"json_path": "$.a", "equals": 1, "matches": "x"}, "`equals`"),
        ({"json_path": "$..a..b"}, "`json_path`"),
        ({"json_path": "$.a", "matches": "("}, "`json_path`"),
        ({"regex": "("}, "`regex`"),
        ({"x509_names": []}, "`x509_names`"),
        ({"module_paths": ["["]}, "`module_paths`"),
        ({"x509_names": ["example.com"], "logs": ["log.example/one"]}, "static-ct"),
        ({"digests": "missing.txt"}, "`digests`"),
        ({"digests": "large.txt"}, "`digests`"),
        ({"digests": "monitor.toml"}, "`digests`"),
        ({"substring": "x", "logs": ["other.example"]}, "`logs`"),
        ({"substring": "x", "since": -1}, "`since`"),
        ({"substring": "x", "keep": 0}, "`keep`"),
        ({"substring": "x", "name": ""}, "`name`"),
        ({"substring": "x", "name": "a\tb"}, "`name`"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, keys: dict[str, object], named: str) -> None:
    (folder / "monitor.toml").write_text("# no digest\n")
    with pytest.raises(UsageError, match="number 1") as caught:
        read(folder, keys)
    assert named in str(caught.value)


def test_a_rule_for_logs_that_there_are_not_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="sumdb"):
        read(folder, {"module_paths": ["example.com"]}, {"log.example/one": "tiles"})


def test_two_watches_of_one_name_are_refused(folder: Path) -> None:
    entry = WatchConfig(name="w", substring="x")
    with pytest.raises(UsageError, match="number 2"):
        read_watches(folder / "monitor.toml", [entry, entry], KINDS)
