"""The monitor's configuration: what is accepted, and what is refused with a sentence that names it."""

from dataclasses import replace
from pathlib import Path

import pytest

from gossip.core import origin_id
from monitor.config import MonitorSettings, Vantage, _check_roles, observers_of, read_settings
from monitor.kinds import Kind
from runtime.errors import UsageError
from runtime.keyfiles import write_signer_key
from tests.commands import Sameview
from tests.fakes_log import ORIGIN, policy, signer
from tlog.keys import KeyType, VerifierKey
from tlog.text import decode_base64, encode_base64

PEER, OTHER = signer("monitor.example/m1"), signer("monitor.example/m2")
OBSERVER = signer("monitor.example/m1-observer", KeyType.COSIGNATURE_ED25519)
OTHER_OBSERVER = signer("monitor.example/m2-observer", KeyType.COSIGNATURE_MLDSA44)
LOG_KEY = signer("sum.example")
# The public key of a certificate log, as the lists of logs print it.
P256 = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDODRU688UYGuy54mNUlaEBiQdTE9nYLr0lg6"
    "RXowI/QV/RE1azBn4Eg5/2uTOMbhB1/gfcHzijzFi9Tk+g1Prg=="
)
OTHER_NAME = VerifierKey.of("ct.example/other", KeyType.RFC6962, decode_base64(P256.encode(), "key"))
IMPOSTOR = signer(ORIGIN, KeyType.COSIGNATURE_MLDSA44)

HEAD = """
name = "monitor.example/m1"
data = "data"
register = "register"
peer_key = "peer.key"
observer_key = "observer.key"
policy = "policy.txt"
"""
LOG = f'[[log]]\norigin = "{ORIGIN}"\nurl = "http://127.0.0.1:8080/"\n'
SECOND = '[[log]]\norigin = "go.sum database tree"\nurl = "https://sum.example"\n'
PEERS = (
    f'[[peer]]\nname = "m2"\nvkey = "{OTHER.verifier_key}"\nurl = "http://127.0.0.1:8083"\n'
    f'observer = "{OTHER_OBSERVER.verifier_key}"\noperator = "Two"\nanchor = true\n'
)


def settings(folder: Path, text: str) -> MonitorSettings:
    write_signer_key(folder / "peer.key", PEER)
    write_signer_key(folder / "observer.key", OBSERVER)
    (folder / "policy.txt").write_bytes(policy().format())
    (folder / "open.txt").write_text("quorum none\n")
    (folder / "broken.txt").write_text("quorum nobody\n")
    (folder / "large.txt").write_text("#\n" * 2**20)
    (folder / "monitor.toml").write_text(text)
    return read_settings(folder / "monitor.toml")


def test_the_defaults_suit_a_first_monitor(tmp_path: Path) -> None:
    found = settings(tmp_path, HEAD + LOG)
    (watched,) = found.logs
    assert (found.listen, found.operator_listen, found.mirror_bytes) == ("127.0.0.1:8082", "127.0.0.1:8092", 4 * 2**30)
    assert (found.poll_interval, found.gossip_interval, found.reachable, found.peers) == (10.0, 10.0, True, ())
    assert (watched.url, watched.log.origin, watched.log.policy) == ("http://127.0.0.1:8080", ORIGIN, policy())
    assert watched.log.keys == (signer(ORIGIN).verifier_key,)
    assert (found.data, found.register) == (tmp_path / "data", tmp_path / "register")


def test_a_log_has_a_budget_and_may_lie_in_a_folder(tmp_path: Path) -> None:
    (watched,) = settings(tmp_path, HEAD + LOG).logs
    assert (watched.parallel, watched.requests_per_second) == (8, 0.0)
    copy = LOG.replace("http://127.0.0.1:8080/", "file:///srv/a%20copy/")
    (watched,) = settings(_other(tmp_path), f"{HEAD}{copy}parallel = 64\nrequests_per_second = 0.5\n").logs
    assert (watched.url, watched.parallel, watched.requests_per_second) == ("file:///srv/a%20copy", 64, 0.5)


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("http://log", "parallel = 0", "`parallel` is not 1 to 64"),
        ("http://log", "parallel = 65", "`parallel` is not 1 to 64"),
        ("http://log", "requests_per_second = -1.0", "`requests_per_second` is negative"),
        ("file://srv/copy", "", "`url` is not a URL like file:///srv"),
        ("file:///srv/käse", "", "`url` is not a URL like file:///srv"),
    ],
)
def test_an_odd_budget_or_folder_is_refused(tmp_path: Path, url: str, more: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings(tmp_path, f"{HEAD}{LOG.replace('http://127.0.0.1:8080/', url)}{more}\n")


def _other(folder: Path) -> Path:
    other = folder / "other"
    other.mkdir()
    return other


def test_a_log_may_bring_its_keys_and_its_policy(tmp_path: Path) -> None:
    own = f'vkeys = ["{LOG_KEY.verifier_key}", "{LOG_KEY.verifier_key}"]\npolicy = "open.txt"\n'
    found = settings(tmp_path, HEAD + LOG + SECOND + own)
    assert (found.logs[1].log.keys, found.logs[1].log.policy.quorum) == ((LOG_KEY.verifier_key,), None)


def test_peers_are_named_with_their_keys(tmp_path: Path) -> None:
    shy = f'[[peer]]\nname = "m3"\nvkey = "{signer("m3").verifier_key}"\n'
    found = settings(tmp_path, HEAD + LOG + PEERS + shy)
    first, second = found.peers
    assert (first.peer.url, first.operator, first.anchor) == ("http://127.0.0.1:8083", "Two", True)
    assert (second.peer.url, second.observer) == (None, None)
    assert observers_of(found.peers) == (OTHER_OBSERVER.verifier_key,)


WITNESS = '[[witness]]\nname = "w1"\nmonitoring_url = "http://127.0.0.1:8081/"\n'


def test_a_witness_takes_evidence_and_lists_what_it_refused_at_its_monitoring_url(tmp_path: Path) -> None:
    (witness,) = settings(tmp_path, HEAD + LOG + WITNESS).witnesses
    urls = "http://127.0.0.1:8081/v1/evidence", "http://127.0.0.1:8081/v1/conflicts"
    assert (witness.name, witness.evidence_url, witness.conflicts_url) == ("w1", *urls)
    assert witness.origins == {origin_id(ORIGIN)}


def test_a_witness_may_list_what_it_refused_elsewhere(tmp_path: Path) -> None:
    own = 'conflicts_url = "http://127.0.0.1:8091"\n'
    (witness,) = settings(tmp_path, HEAD + LOG + WITNESS + own).witnesses
    assert witness.conflicts_url == "http://127.0.0.1:8091/v1/conflicts"


def test_a_witness_is_told_about_the_logs_whose_policy_names_it(tmp_path: Path) -> None:
    own = f'vkeys = ["{LOG_KEY.verifier_key}"]\npolicy = "open.txt"\n'
    (witness,) = settings(tmp_path, HEAD + LOG + SECOND + own + WITNESS).witnesses
    assert witness.origins == {origin_id(ORIGIN)}


def test_who_is_asked_for_heads_and_how_many_may_lie_is_configured(tmp_path: Path) -> None:
    found = settings(
        tmp_path, HEAD + "liars = 1\nwitness_interval = 15.0\n" + LOG + 'distributor = "http://d/"\n' + WITNESS
    )
    assert (found.liars, found.witness_interval, found.logs[0].distributor) == (1, 15.0, "http://d")
    assert found.witnesses[0].monitoring_url == "http://127.0.0.1:8081"


def test_witnesses_are_asked_each_minute_and_none_may_lie_unless_that_is_said(tmp_path: Path) -> None:
    found = settings(tmp_path, HEAD + LOG)
    assert (found.liars, found.witness_interval, found.logs[0].distributor) == (0, 60.0, "")


@pytest.mark.parametrize(
    ("head", "log", "message"),
    [
        ("liars = 2\n", "", "2 witnesses make a quorum of the policy (minq = 2), and `liars` = 2 of them may lie"),
        ("liars = 2\n", "", "set `liars` to at most 1, or use a policy with a larger quorum"),
        ("liars = -1\n", "", "`liars` cannot be negative"),
        ("witness_interval = 0.001\n", "", "`witness_interval` is not between"),
        ("", 'distributor = "d"\n', "[[log]] number 1: `distributor` is not a URL"),
    ],
)
def test_a_claim_that_cannot_be_made_is_refused(tmp_path: Path, head: str, log: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        settings(tmp_path, HEAD + head + LOG + log)
    assert message in str(error.value)


def test_a_log_without_witnesses_is_followed_whoever_may_lie(tmp_path: Path) -> None:
    own = f'vkeys = ["{LOG_KEY.verifier_key}"]\npolicy = "open.txt"\n'
    assert len(settings(tmp_path, HEAD + "liars = 1\n" + LOG + SECOND + own).logs) == 2


def test_init_says_what_the_policy_is_worth(tmp_path: Path, sameview: Sameview) -> None:
    settings(tmp_path, HEAD + LOG)
    ran = sameview("monitor", "init", "--config", tmp_path / "monitor.toml")
    assert ran.code == 0
    assert "policy of log.example/one: the watermark can survive up to 1 lying witnesses" in ran.err
    assert "(minq 2, inter 1, block 2, liars 0: see docs/monitor.md)" in ran.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ('vantage_url = "http://other/"\n', Vantage("http://other")),
        ('vantage_proxy = "http://proxy:1"\n', Vantage("http://127.0.0.1:8080", "http://proxy:1")),
        ('vantage_url = "http://other"\nvantage_proxy = "http://proxy:1"\n', Vantage("http://other", "http://proxy:1")),
    ],
)
def test_a_second_way_to_a_log_is_another_address_a_proxy_or_both(
    tmp_path: Path, text: str, expected: Vantage | None
) -> None:
    assert settings(tmp_path, HEAD + LOG + text).logs[0].vantage == expected


def test_alarms_and_archive_have_tables_of_their_own(tmp_path: Path) -> None:
    tables = "[alarms]\nwatermark_stale = 7200\n[archive]\nheads_days = 90\n"
    found = settings(tmp_path, HEAD + tables + LOG + "cadence = 60\ngrowth = 10.5\n")
    assert (found.alarms.watermark_stale, found.alarms.witness_lag, found.archive.heads_days) == (7200, 600, 90)
    assert (found.logs[0].cadence, found.logs[0].growth) == (60, 10.5)


def test_what_a_monitor_testifies_and_whom_it_dials_is_configured(tmp_path: Path) -> None:
    found = settings(tmp_path, HEAD + 'unserved_seconds = 60.0\nvantage = "Zürich, AS 64500"\nlinks = 12\n' + LOG)
    assert (found.unserved_seconds, found.vantage, found.links) == (60.0, "Zürich, AS 64500", 12)


def test_a_monitor_testifies_after_ten_minutes_and_does_not_tell_where_it_stands(tmp_path: Path) -> None:
    bare = settings(tmp_path, HEAD + LOG)
    assert (bare.unserved_seconds, bare.vantage, bare.links, bare.witnesses) == (600.0, "", 8, ())


@pytest.mark.parametrize(("start", "expected"), [("0", 0), ("1000", 1000), ('"vouched"', None)])
def test_a_log_is_followed_from_its_first_entry_or_where_start_says(
    tmp_path: Path, start: str, expected: int | None
) -> None:
    (watched,) = settings(tmp_path, HEAD + LOG + f"start = {start}\n" + PEERS).logs
    assert (watched.start, watched.kind) == (expected, Kind.TILES)


def test_published_keys_of_rekor_and_of_certificate_logs_bear_the_origin(tmp_path: Path) -> None:
    ed25519 = encode_base64(bytes.fromhex("302a300506032b6570032100") + LOG_KEY.verifier_key.public_key).decode()
    rekor = f'kind = "rekor2"\npublic_keys = ["{ed25519}", "{P256}"]\n'
    ct = f'[[log]]\norigin = "ct.example/2025h2"\nurl = "http://ct"\nkind = "static-ct"\npublic_keys = ["{P256}"]\n'
    first, second = settings(tmp_path, HEAD + LOG + rekor + ct).logs
    assert [(key.name, key.type) for key in first.log.keys[1:]] == [
        (ORIGIN, KeyType.ED25519),
        (ORIGIN, KeyType.ECDSA),
    ]
    assert [(key.name, key.type) for key in second.log.keys] == [("ct.example/2025h2", KeyType.RFC6962)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + LOG + "typo = 1\n", "typo"),
        (HEAD.replace('data = "data"\n', "") + LOG, "data"),
        (HEAD, "no \\[\\[log\\]\\]"),
        (HEAD + LOG + LOG, "number 2: there is an earlier"),
        (HEAD + LOG + 'kind = "blocks"\n', 'none that exists: write one of "tiles", "sumdb", "rekor2", "static-ct"'),
        (HEAD + LOG + 'public_keys = ["AAAA"]\n', "publish their keys with names"),
        (HEAD + LOG + 'kind = "rekor2"\npublic_keys = ["AA=A"]\n', "`public_keys`: the key is not base64"),
        (HEAD + LOG + 'kind = "static-ct"\npublic_keys = ["AAAA"]\n', "`public_keys`"),
        (HEAD + SECOND + 'kind = "rekor2"\npublic_keys = ["AAAA"]\n', "cannot be a name"),
        (HEAD + LOG + f'vkeys = ["{OTHER_NAME}"]\n', "has to bear the origin as its name"),
        (HEAD + LOG + 'start = "latest"\n', "neither a number of entries nor"),
        (HEAD + LOG + "start = -1\n", "neither a number of entries nor"),
        (HEAD + LOG + f"start = {2**63}\n", "start"),
        (HEAD + LOG + 'start = "vouched"\n', "needs observers of 1 operators, one more than `liars`, and 0 are"),
        (HEAD + "liars = 1\n" + LOG + 'start = "vouched"\n' + PEERS, "observers of 2 operators"),
        (HEAD + LOG.replace(ORIGIN, "x\\u0000"), "`origin`"),
        (HEAD + SECOND, "names no key of this origin"),
        (HEAD + SECOND + 'vkeys = ["nonsense"]\n', "`vkeys`"),
        (HEAD + SECOND + f'vkeys = ["{OBSERVER.verifier_key}"]\n', "for something else"),
        (HEAD + SECOND + f'vkeys = ["{OTHER_OBSERVER.verifier_key}"]\n', "no evidence"),
        (HEAD + LOG.replace("http:", "ftp:"), "`url` is not a URL"),
        (HEAD + LOG.replace("//127.0.0.1:8080/", "//"), "`url` is not a URL"),
        (HEAD + LOG.replace("http://", ""), "`url` is not a URL"),
        (HEAD + LOG + 'policy = "missing.txt"\n', "cannot read"),
        (HEAD + LOG + 'policy = "broken.txt"\n', "policy line 1"),
        (HEAD + LOG + 'policy = "large.txt"\n', "larger than"),
        (HEAD + "poll_interval = 0.01\n" + LOG, "poll_interval"),
        (HEAD + "gossip_interval = 100000.0\n" + LOG, "gossip_interval"),
        (HEAD + "mirror_bytes = -1\n" + LOG, "cannot be negative"),
        (HEAD + "liars = -1\n" + LOG, "cannot be negative"),
        (HEAD.replace("monitor.example/m1", "a b") + LOG, "`name`"),
        (HEAD + 'listen = "127.0.0.1"\n' + LOG, "monitor.toml: `listen`: 127.0.0.1 is not an address to listen on"),
        (HEAD + 'listen = "127.0.0.1:8092"\n' + LOG, "are the same address"),
        (HEAD.replace("peer.key", "observer.key") + LOG, "monitor.toml: `peer_key`: observer.key is not a peer key"),
        (
            HEAD.replace("observer.key", "peer.key") + LOG,
            "monitor.toml: `observer_key`: peer.key is not an observer key",
        ),
        (
            HEAD.replace("example/m1", "example/m9") + LOG,
            "peer.key is named monitor.example/m1, the monitor monitor.example/m9: they must be the same",
        ),
        (HEAD + LOG + PEERS + PEERS, "number 2: there is an earlier"),
        (HEAD + LOG + PEERS.replace(str(OTHER.verifier_key), str(PEER.verifier_key)), "monitor's own key"),
        (HEAD + LOG + PEERS.replace(str(OTHER.verifier_key), "x"), "number 1: `vkey`"),
        (HEAD + LOG + PEERS.replace(str(OTHER_OBSERVER.verifier_key), str(PEER.verifier_key)), "`observer`"),
        (HEAD + LOG + PEERS.replace("http://127.0.0.1:8083", "m2"), "`url`"),
        (
            HEAD + LOG + PEERS.replace(str(OTHER_OBSERVER.verifier_key), str(IMPOSTOR.verifier_key)),
            "named like the log",
        ),
        (HEAD.replace('"register"', '"data/register"') + LOG, "`register` and `data` must be apart"),
        (HEAD.replace('"data"', '"register/data"') + LOG, "`register` and `data` must be apart"),
        (HEAD + LOG + '[[witness]]\nname = "w9"\nmonitoring_url = "http://x"\n', "no witness of this `name`"),
        (HEAD + LOG + '[[witness]]\nname = "w1"\nmonitoring_url = "x"\n', "`monitoring_url`"),
        (HEAD + LOG + WITNESS + 'conflicts_url = "x"\n', "`conflicts_url`"),
        (HEAD + LOG + WITNESS + WITNESS, "number 2: there is an earlier"),
        (HEAD + "unserved_seconds = 0.5\n" + LOG, "unserved_seconds"),
        (HEAD + "unserved_seconds = 1e9\n" + LOG, "unserved_seconds"),
        (HEAD + "links = 0\n" + LOG, "links"),
        (HEAD + "links = 65\n" + LOG, "links"),
        (HEAD + 'vantage = "-"\n' + LOG, "vantage"),
        (HEAD + 'vantage = "a\\nb"\n' + LOG, "vantage"),
        (HEAD + f'vantage = "{"x" * 256}"\n' + LOG, "vantage"),
        (HEAD + LOG + "cadence = -1\n", "`cadence`"),
        (HEAD + LOG + "cadence = 1e9\n", "`cadence`"),
        (HEAD + LOG + "growth = -1.0\n", "`growth`"),
        (HEAD + LOG + 'vantage_url = "x"\n', "`vantage_url` is not a URL"),
        (HEAD + LOG + 'vantage_proxy = "socks5://x"\n', "`vantage_proxy` is not a URL"),
        (HEAD + LOG + 'vantage_url = "http://127.0.0.1:8080"\n', "same as `url`"),
        (HEAD + "[alarms]\nwitness_lag = 0\n" + LOG, "`witness_lag` in `.alarms.`"),
        (HEAD + "[alarms]\nsize_leap = 1\n" + LOG, "size_leap"),
        (HEAD + "[archive]\nminutes_days = 0\n" + LOG, "`minutes_days` in `.archive.`"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        settings(tmp_path, text)


def test_an_observer_that_is_also_a_witness_of_the_log_is_refused(tmp_path: Path) -> None:
    double = policy(witnesses=(OBSERVER,), threshold=1)
    (tmp_path / "double.txt").write_bytes(double.format())
    with pytest.raises(UsageError, match="also a key of the log or of a witness"):
        settings(tmp_path, HEAD + LOG + 'policy = "double.txt"\n')


def test_two_keys_under_one_name_and_id_are_refused_at_the_start(tmp_path: Path) -> None:
    # Four bytes of hash can be made to collide. Found out later, it would stop the monitor at the first evidence.
    watched = settings(tmp_path, HEAD + LOG).logs
    witness = watched[0].log.policy.witness_keys[0]
    with pytest.raises(UsageError, match="same name and key ID"):
        _check_roles(tmp_path, watched, (replace(witness, public_key=OBSERVER.verifier_key.public_key),))


def test_an_observer_that_is_named_like_a_witness_is_refused_unless_it_is_that_witness(tmp_path: Path) -> None:
    """By contradicting itself it would take the witness out of all quorums: who lied is known by its name."""
    watched = settings(tmp_path, HEAD + LOG).logs
    witness = watched[0].log.policy.witness_keys[0]
    impostor = signer(witness.name, KeyType.COSIGNATURE_MLDSA44).verifier_key
    with pytest.raises(UsageError, match="named like a witness of"):
        _check_roles(tmp_path, watched, (impostor,))
    _check_roles(tmp_path, watched, (witness,))


def test_a_key_that_the_policy_names_too_counts_once(tmp_path: Path) -> None:
    assert settings(tmp_path, HEAD + LOG + f'vkeys = ["{signer(ORIGIN).verifier_key}"]\n').logs[0].log.keys == (
        signer(ORIGIN).verifier_key,
    )
