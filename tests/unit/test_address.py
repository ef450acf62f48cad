"""Addresses in configuration files: what no machine could listen on is refused before anything is made."""

from pathlib import Path

import pytest

from runtime.address import check_addresses, parse_address
from runtime.errors import UsageError

CONFIG = Path("node.toml")


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("node.example:65535", ("node.example", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parsed: tuple[str, int]) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", ":8080", "::1:8080", "127.0.0.1:http", ""])
def test_what_is_no_address_is_told_with_the_file_and_the_key(address: str) -> None:
    for keys, name in (((address, None), "listen"), (("127.0.0.1:1", address), "operator_listen")):
        with pytest.raises(UsageError) as refused:
            check_addresses(CONFIG, *keys)
        assert str(refused.value) == (
            f"node.toml: `{name}`: {address} is not an address to listen on: write host:port, such as 127.0.0.1:8080"
        )


def test_one_address_cannot_serve_both() -> None:
    with pytest.raises(UsageError, match=r"node\.toml: `listen` and `operator_listen` are the same address: give each"):
        check_addresses(CONFIG, "127.0.0.1:8080", "127.0.0.1:8080")


@pytest.mark.parametrize("operator_listen", ["127.0.0.1:8081", "[::1]:8080", None])
def test_two_addresses_may_differ_in_anything(operator_listen: str | None) -> None:
    check_addresses(CONFIG, "127.0.0.1:8080", operator_listen)


def test_free_ports_are_two_ports() -> None:
    check_addresses(CONFIG, "127.0.0.1:0", "127.0.0.1:0")
