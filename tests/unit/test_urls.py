"""URLs that a person typed: those that name no server are bad usage, before anything is asked."""

from pathlib import Path

import pytest

from runtime.errors import UsageError
from sameview.urls import checked_url
from tests.commands import Sameview
from tests.keys import log_key

BAD = [
    "",
    "log.example",
    "ftp://log.example",
    "http://",
    "http:///checkpoint",
    "http://a..b",
    "http://[::1",
    "http://[nonsense]",
    "http://log.example:99999",
    "http://log.example:0",
    "http://log.example:port",
    "http://user@log.example",
    "http://log.example/?a=b",
    "http://log.example/#a",
    "http://log .example",
    "http://log.example\\evil",
    "http://l\u00f6g.example",
]


@pytest.mark.parametrize("url", BAD)
def test_what_names_no_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="the log is not a URL: write one such as"):
        checked_url(url, "the log")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://log.example/one/", "https://log.example/one"),
        ("http://[::1]:8080//", "http://[::1]:8080"),
    ],
)
def test_a_url_loses_only_the_slashes_at_its_end(url: str, kept: str) -> None:
    assert checked_url(url, "the log") == kept


def test_every_command_ends_with_2_for_a_malformed_url(sameview: Sameview, tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    entry.write_bytes(b"an entry")
    for url in ("http://a..b", "http://log.example:99999"):
        for command in (
            ("monitor", "status", url),
            ("log", "add", url, entry),
            ("fsck", url, "--vkey", log_key().verifier_key),
        ):
            ran = sameview(*command)
            assert (ran.code, ran.out, "is not a URL" in ran.err, url in ran.err) == (2, "", True, False)
