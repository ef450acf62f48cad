"""What a witness's configuration file says about logs, lists and feeds, and which mistakes it names."""

from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.keyfiles import write_signer_key
from tests.keys import log_key, mldsa_key, witness_key
from witness.config import MAX_FEEDS, FeedConfig, WitnessSettings, read_settings

ORIGIN = "log.example/one"
VKEY = log_key(ORIGIN).verifier_key.format()
OTHER = mldsa_key(ORIGIN).verifier_key.format()


def settings(directory: Path, more: str) -> WitnessSettings:
    write_signer_key(directory / "w.key", witness_key())
    file = directory / "witness.toml"
    file.write_text('name = "witness.example/one"\ndata = "d"\nregister = "r"\nkeys = ["w.key"]\n' + more)
    return read_settings(file)


def test_requests_per_day_belong_to_the_log(tmp_path: Path) -> None:
    read = settings(tmp_path, f'[[log]]\nvkey = "{VKEY}"\nqpd = 100\n[[log]]\nvkey = "{OTHER}"\n')
    assert (read.qpd, len(read.logs[ORIGIN])) == ({ORIGIN: 100}, 2)


def test_two_limits_for_one_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say it once"):
        settings(tmp_path, f'[[log]]\nvkey = "{VKEY}"\nqpd = 100\n[[log]]\nvkey = "{OTHER}"\nqpd = 99\n')


@pytest.mark.parametrize("qpd", ["0", "2147483648", "1.5"])
def test_requests_per_day_are_those_that_a_list_can_say(qpd: str, tmp_path: Path) -> None:
    """SPEC: L-6"""
    with pytest.raises(UsageError, match="qpd"):
        settings(tmp_path, f'[[log]]\nvkey = "{VKEY}"\nqpd = {qpd}\n')


def test_lists_and_feeds_are_read(tmp_path: Path) -> None:
    read = settings(
        tmp_path,
        '[[list]]\nurl = "https://lists.example/a"\n'
        '[[feed]]\norigin = "go.sum database tree"\nurl = "https://sum.golang.org/"\nkind = "sumdb"\n',
    )
    assert read.lists == ("https://lists.example/a",)
    assert read.feeds == (FeedConfig(origin="go.sum database tree", url="https://sum.golang.org", kind="sumdb"),)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('listen = "127.0.0.1:99999"\n', "`listen`: 127.0.0.1:99999 is not an address to listen on"),
        ('listen = "127.0.0.1:8091"\n', "are the same address"),
        ('[[list]]\nurl = "lists.example"\n', "`list`"),
        ('[[feed]]\norigin = "o"\nurl = "file:///x"\n', "`feed`"),
        ('[[feed]]\norigin = "o"\nurl = "https://a"\nkind = "rekor"\n', "kind"),
        ('[[feed]]\norigin = "o"\nurl = "https://a"\ninterval = 0.5\n', "interval"),
        ('[[feed]]\norigin = "o"\nurl = "https://a"\n' * 2, "same `origin`"),
        ("".join(f'[[feed]]\norigin = "{n}"\nurl = "https://a"\n' for n in range(MAX_FEEDS + 1)), "more than"),
    ],
    ids=["no address", "one address", "list URL", "feed URL", "kind", "interval", "twice", "too many"],
)
def test_a_mistake_is_named(more: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        settings(tmp_path, more)


@pytest.mark.parametrize(("data", "register"), [("d", "d/register"), ("d", "d"), ("r/d", "r")])
def test_the_register_lies_apart_from_the_data(data: str, register: str, tmp_path: Path) -> None:
    """One backup of both would bring both back, and nothing would show that they are old."""
    write_signer_key(tmp_path / "w.key", witness_key())
    file = tmp_path / "witness.toml"
    file.write_text(f'name = "witness.example/one"\ndata = "{data}"\nregister = "{register}"\nkeys = ["w.key"]\n')
    with pytest.raises(UsageError, match="must be apart"):
        read_settings(file)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("witness.example/one", "[]", " is empty"),
        ("witness.example/one", '["w.key", "l.key"]', ": l.key is not a witness key"),
        ("witness.example/two", '["w.key"]', ": w.key is named witness.example/one, the witness witness.example/two"),
        ("witness.example/one", '["w.key", "w.key"]', " names one key twice"),
    ],
)
def test_a_mistake_in_the_keys_is_told_with_both_files(tmp_path: Path, name: str, keys: str, said: str) -> None:
    write_signer_key(tmp_path / "w.key", witness_key())
    write_signer_key(tmp_path / "l.key", log_key())
    file = tmp_path / "witness.toml"
    file.write_text(f'name = "{name}"\ndata = "d"\nregister = "r"\nkeys = {keys}\n')
    with pytest.raises(UsageError) as refused:
        read_settings(file)
    assert str(refused.value).startswith(f"{file}: `keys`{said}")


def test_the_file_of_another_program_is_recognised_as_one(tmp_path: Path) -> None:
    file = tmp_path / "log.toml"
    file.write_text(f'origin = "{ORIGIN}"\ndata = "d"\nregister = "r"\nkeys = ["log.key"]\n')
    with pytest.raises(
        UsageError, match=r"`origin` is unknown: .* if this is another program's file, name the witness"
    ):
        read_settings(file)
