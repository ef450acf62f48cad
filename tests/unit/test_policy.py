"""Policy files: every rule of the format, every trap, and the verdict that a person reads."""

import pytest

from tests.keys import NOW, cosign, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note
from tlog.policy import Group, Policy, PolicyLog, PolicyWitness
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

LOG = log_key("log.example/one")
OTHER_LOG = log_key("log.example/two")
W1, W2, W3 = (witness_key(f"witness.example/{n}") for n in (1, 2, 3))
CHECKPOINT = Checkpoint("log.example/one", 3, Hash(b"r" * 32))

LOG_LINE = f"log {LOG.verifier_key}\n".encode()
WITNESSES = b"".join(f"witness w{n} {key.verifier_key}\n".encode() for n, key in enumerate((W1, W2, W3), start=1))


def text(*lines: str) -> bytes:
    return LOG_LINE + WITNESSES + "".join(line + "\n" for line in lines).encode()


def refuse(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        Policy.parse(data)


def opened(*witnesses: SignerKey, time: int = NOW) -> SignedCheckpoint:
    keys = [LOG.verifier_key, *(witness.verifier_key for witness in witnesses)]
    return open_checkpoint(cosign(sign_checkpoint(CHECKPOINT, LOG), *witnesses, time=time), keys)


# Grammar.


def test_reads_every_kind_of_line() -> None:
    data = text("group g 2 w1 w2", "quorum g").replace(b"witness w3", b"witness  w3\t") + b"log %s https://l/#a\n" % (
        str(OTHER_LOG.verifier_key).encode()
    )
    assert Policy.parse(data) == Policy(
        (PolicyLog(LOG.verifier_key), PolicyLog(OTHER_LOG.verifier_key, "https://l/#a")),
        tuple(PolicyWitness(f"w{n}", key.verifier_key) for n, key in enumerate((W1, W2, W3), start=1)),
        (Group("g", 2, ("w1", "w2")),),
        "g",
    )


def test_writes_one_line_for_each_and_the_words_for_one_and_all() -> None:
    groups = (Group("a", 1, ("w1",)), Group("b", 1, ("w2", "w3")), Group("c", 2, ("a", "b")))
    lines = text("group a all w1", "group b any w2 w3", "group c all a b", "quorum c")
    assert Policy(Policy.parse(lines).logs, Policy.parse(lines).witnesses, groups, "c").format() == lines


def test_a_numeric_threshold_stays_numeric() -> None:
    data = text("group g 2 w1 w2 w3", "quorum g")
    assert Policy.parse(data).format() == data


def test_refuses_a_last_line_without_line_feed() -> None:
    # SPEC: PO-1 each line is terminated by ASCII newline
    refuse(text("quorum w1").removesuffix(b"\n"), "does not end with a line feed")


@pytest.mark.parametrize("blank", ["\v", "\f", "\r", "\x1c", "\x00", "\x7f", "\x1b"])
def test_refuses_control_characters_anywhere(blank: str) -> None:
    # SPEC: PO-2 only octets 09, 0A, 20-7E and 80-FF
    for data in (text(f"quorum{blank}w1"), text(f"#{blank}", "quorum w1"), text(f"quorum w1{blank}")):
        refuse(data, "control character")


@pytest.mark.parametrize("blank", ["\u00a0", "\u0085", "\u2028", "\u3000"])
def test_no_other_space_separates_items(blank: str) -> None:
    # SPEC: PO-1 whitespace is ASCII space and tab only. SPEC: PO-2 high octets are opaque
    refuse(text(f"quorum{blank}w1"), "not a log, witness, group or quorum line")


def test_blanks_around_a_line_and_empty_lines_mean_nothing() -> None:
    # SPEC: PO-1 leading and trailing whitespace is allowed. SPEC: PO-3 empty lines are ignored
    assert Policy.parse(b"\n \t\n" + text("\t quorum \t w1 \t", "")) == Policy.parse(text("quorum w1"))


def test_a_line_that_begins_with_a_number_sign_is_a_comment() -> None:
    # SPEC: PO-3 lines starting with "#", possibly preceded by whitespace, are ignored
    assert Policy.parse(text("# quorum w2", " \t# \xff", "quorum w1")).quorum == "w1"


@pytest.mark.parametrize(
    "line", ["quorum w1 # one is enough", "group g any w1 #w2", f"log {OTHER_LOG.verifier_key} u #"]
)
def test_a_number_sign_further_on_is_no_comment(line: str) -> None:
    # SPEC: PO-3 there are no inline comments
    refuse(text(line), r"policy line 5: (not a log|a name is not)")


def test_a_number_sign_in_a_url_is_part_of_it() -> None:
    # SPEC: PO-3 there are no inline comments
    policy = Policy.parse(b"log %s https://log.example/#top\nquorum none\n" % str(LOG.verifier_key).encode())
    assert policy.logs[0].url == "https://log.example/#top"


@pytest.mark.parametrize(
    "line",
    ["log", "log a b c", "witness w", "witness w k u x", "group g", "quorum", "quorum w1 w2", "Quorum w1", "policy v0"],
)
def test_refuses_unknown_lines_and_wrong_numbers_of_items(line: str) -> None:
    refuse(text(line, "quorum w1"), "^policy line 5: not a log, witness, group or quorum line")


def test_names_the_line_of_a_bad_key() -> None:
    refuse(b"\n# keys\nlog log.example/one+00000000+AAAA\nquorum none\n", "^policy line 3: ")


def test_refuses_a_key_that_is_not_utf8() -> None:
    refuse(b"log \xff+00000000+AAAA\nquorum none\n", "^policy line 1: vkey is not UTF-8")


# Names.


def test_names_are_octets_and_no_two_spellings_are_one_name() -> None:
    # SPEC: PO-2 "K" is different from a Kelvin sign, and octets that are not UTF-8 are names too
    keys = [str(key.verifier_key).encode() for key in (W1, W2, W3)]
    data = b"witness K %s\nwitness \xe2\x84\xaa %s\nwitness \xe2\x84 %s\nquorum \xe2\x84\n" % tuple(keys)
    policy = Policy.parse(data)
    assert (policy.format(), policy.quorum) == (data, "\udce2\udc84")


def test_any_and_all_are_ordinary_names() -> None:
    # SPEC: PO-9 only "none" is predefined
    policy = Policy.parse(text("group any all w1", "group all any w2", "group 3 2 any all", "quorum 3"))
    assert policy.groups[2] == Group("3", 2, ("any", "all"))


def test_witnesses_and_groups_share_their_names() -> None:
    # SPEC: PO-9 a single name space
    refuse(text("group w1 any w2", "quorum w1"), "^policy line 5: the name is already taken")


def test_no_name_is_defined_twice() -> None:
    # SPEC: PO-9 a single name space
    refuse(
        WITNESSES.replace(b"witness w3", b"witness w1") + b"quorum w1\n", "^policy line 3: the name is already taken"
    )


@pytest.mark.parametrize("line", [f"witness none {W1.verifier_key}", "group none any w1"])
def test_none_cannot_be_defined(line: str) -> None:
    # SPEC: PO-9 "none" is predefined
    refuse(text(line), "the name is already taken")


def test_none_is_no_member() -> None:
    # SPEC: PO-9 "none" is invalid as a group member
    refuse(text("group g any w1 none", "quorum g"), "^policy line 5: a name is not that of a witness or group")


@pytest.mark.parametrize("line", ["group g any later", "group g 1 g", "quorum later", "quorum g"])
def test_names_are_used_only_below_the_line_that_defines_them(line: str) -> None:
    # SPEC: PO-5 only names defined on preceding lines
    late = text(line, "group later any w1", "group g any w2", "quorum none")
    refuse(late, "^policy line 5: a name is not that of a witness or group on a preceding line")


def test_a_name_is_a_member_once_at_most() -> None:
    # SPEC: PO-11 each defined name can be listed as a group member at most once
    refuse(text("group g any w1 w2 w1", "quorum g"), "listed twice, or in two groups")
    refuse(
        text("group g any w1 w2", "group h any w3 w2", "quorum g"), "^policy line 6: .*listed twice, or in two groups"
    )


# Groups and quorum.


@pytest.mark.parametrize("threshold", ["0", "3", "9223372036854775807"])
def test_a_threshold_lies_between_one_and_the_number_of_members(threshold: str) -> None:
    # SPEC: PO-10 1 <= k <= n
    refuse(text(f"group g {threshold} w1 w2", "quorum g"), "threshold of a group is not 1 to the number of its members")


@pytest.mark.parametrize("threshold", ["-1", "+1", "01", "1.", "one", "Any", "ALL", "1_0", "\u0661"])
def test_a_threshold_is_a_decimal_or_one_of_two_words(threshold: str) -> None:
    # SPEC: PO-10 k is written in decimal
    refuse(text(f"group g {threshold} w1 w2", "quorum g"), "threshold of a group is not a decimal number")


@pytest.mark.parametrize("threshold", ["any", "all", "1"])
def test_a_group_has_members(threshold: str) -> None:
    # SPEC: PO-10 at least one member must be listed
    refuse(text(f"group g {threshold}", "quorum g"), "threshold of a group is not 1 to the number of its members")


def test_there_is_a_quorum_line() -> None:
    # SPEC: PO-4 exactly one quorum line
    refuse(text("group g any w1"), "no quorum line")


@pytest.mark.parametrize("line", ["quorum w1", "quorum w2", "quorum none"])
def test_there_is_one_quorum_line(line: str) -> None:
    # SPEC: PO-4 exactly one quorum line
    refuse(text("quorum w1", line), "^policy line 6: there is more than one quorum line")
    refuse(text("quorum none", line), "^policy line 6: there is more than one quorum line")


def test_nothing_but_quorum_none_is_a_policy() -> None:
    # SPEC: PO-13 an empty set of logs is allowed; with quorum none the set of witnesses may be empty
    assert Policy.parse(b"quorum none\n") == Policy((), (), (), None)


def test_lines_may_follow_the_quorum() -> None:
    assert Policy.parse(WITNESSES + b"quorum w1\n" + LOG_LINE).logs == (PolicyLog(LOG.verifier_key),)


# Keys.


def test_a_log_is_trusted_for_the_origin_that_its_key_is_named_after() -> None:
    # SPEC: PO-6 the key name corresponds to the log's origin line
    policy = Policy.parse(LOG_LINE + f"log {OTHER_LOG.verifier_key}\nquorum none\n".encode())
    assert policy.log_keys("log.example/two") == (OTHER_LOG.verifier_key,)
    assert policy.log_keys("go.sum database tree") == ()


def test_one_log_can_have_several_keys() -> None:
    # SPEC: PO-6 each of them is named after the origin
    second = mldsa_key("log.example/one").verifier_key
    policy = Policy.parse(LOG_LINE + f"log {second}\nquorum none\n".encode())
    assert policy.log_keys("log.example/one") == (LOG.verifier_key, second)


def test_refuses_a_log_key_whose_name_cannot_be_an_origin() -> None:
    # SPEC: PO-6 the key name corresponds to the log's origin line
    refuse(f"log {log_key('l' * 256).verifier_key}\nquorum none\n".encode(), "origin is not 1 to 255 bytes long")


def test_refuses_a_witness_key_as_a_log() -> None:
    # SPEC: PO-7 a signature type appropriate to the function
    refuse(f"log {W1.verifier_key}\nquorum none\n".encode(), "that of a witness, not of a log")


def test_refuses_a_plain_signing_key_as_a_witness() -> None:
    # SPEC: PO-7 a signature type appropriate to the function: 0x01 is not silently taken for 0x04
    refuse(f"witness w {LOG.verifier_key}\nquorum w\n".encode(), "a witness's vkey has type 0x04 or 0x06")


def test_logs_and_witnesses_have_mldsa_keys_too() -> None:
    # SPEC: PO-7 a signature type appropriate to the function
    log, witness = mldsa_key("log.example/one").verifier_key, mldsa_key("witness.example/1").verifier_key
    policy = Policy.parse(f"log {log}\nwitness w {witness}\nquorum w\n".encode())
    assert (policy.logs[0].key, policy.witness_keys) == (log, (witness,))


def _renamed(key: SignerKey, name: str, type: KeyType) -> VerifierKey:
    return VerifierKey.of(name, type, key.verifier_key.public_key)


def test_one_public_key_is_one_witness_whatever_it_is_called() -> None:
    # SPEC: PO-8 duplicate if they wrap the same underlying public key, even if they differ by key name and key id
    again = _renamed(W1, "other.example/1", KeyType.COSIGNATURE_ED25519)
    refuse(WITNESSES + f"witness w4 {again}\nquorum w1\n".encode(), "^policy line 4: .*has the same public key")


def test_one_public_key_is_one_log_whatever_it_is_called() -> None:
    # SPEC: PO-8 multiple log lines with the same public key are not allowed
    again = _renamed(LOG, "other.example/1", KeyType.ED25519)
    refuse(LOG_LINE + f"log {again}\nquorum none\n".encode(), "^policy line 2: .*has the same public key")


def test_a_log_and_a_witness_may_share_a_public_key() -> None:
    # SPEC: PO-8 duplicates are forbidden among logs and among witnesses
    shared = _renamed(LOG, "witness.example/log", KeyType.COSIGNATURE_ED25519)
    assert Policy.parse(LOG_LINE + f"witness w {shared}\nquorum w\n".encode()).witness_keys == (shared,)


def test_two_keys_that_no_signature_line_can_tell_apart_are_refused() -> None:
    # SPEC: SN-19 two configured keys never share name and ID
    key = W1.verifier_key
    twin = VerifierKey(key.name, key.id, key.type, W2.verifier_key.public_key)
    with pytest.raises(ValueError, match="same key name and key ID"):
        Policy((), (PolicyWitness("a", key), PolicyWitness("b", twin)), (), None)


def test_urls_are_kept_as_written() -> None:
    # SPEC: PO-14 a witness's URL is its submission prefix
    data = b"log %s https://\xff\nwitness w %s https://w.example/x\nquorum w\n" % (
        str(LOG.verifier_key).encode(),
        str(W1.verifier_key).encode(),
    )
    policy = Policy.parse(data)
    assert (policy.witnesses[0].url, policy.format()) == ("https://w.example/x", data)


def test_supports_32_logs_witnesses_and_groups() -> None:
    # SPEC: PO-15 at least up to 32 logs, 32 witnesses, and 32 groups
    logs = [f"log {log_key(f'log.example/{n}').verifier_key}" for n in range(40)]
    witnesses = [f"witness w{n} {witness_key(f'w.example/{n}').verifier_key}" for n in range(40)]
    groups = ["group g0 any w0", *(f"group g{n} all g{n - 1} w{n}" for n in range(1, 40))]
    policy = Policy.parse("".join(line + "\n" for line in [*logs, *witnesses, *groups, "quorum g39"]).encode())
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups), policy.minq()) == (40, 40, 40, 40)


# Policies made by hand.


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\nb", "a\x7f", "\udcc3\udca9", "\ud800"])
def test_a_name_that_would_not_be_read_back_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match="a name or URL"):
        Policy((), (PolicyWitness(name, W1.verifier_key),), (), None)
    with pytest.raises(ValueError, match="a name or URL"):
        Policy((PolicyLog(LOG.verifier_key, name),), (), (), None)


def test_a_policy_made_by_hand_obeys_the_same_rules() -> None:
    with pytest.raises(ValueError, match="not that of a witness or group"):
        Policy((), (), (Group("g", 1, ("w",)),), "g")


# Verdicts.

TWO_OF_THREE = Policy.parse(text("group g 2 w1 w2 w3", "quorum g"))


def test_a_quorum_of_verified_cosignatures_is_met() -> None:
    # SPEC: PO-12 signed by any one of the listed logs and cosigned according to the quorum
    verdict = TWO_OF_THREE.cosigned(opened(W1, W3))
    assert (verdict.met, verdict.logs) == (True, (PolicyLog(LOG.verifier_key),))
    assert verdict.explain() == (
        f"witness w1 (witness.example/1): cosigned at Unix time {NOW}",
        "witness w2 (witness.example/2): no cosignature",
        f"witness w3 (witness.example/3): cosigned at Unix time {NOW}",
        "group g: 2 of 3 members, 2 needed (w1, w3): met",
        "quorum g: met",
    )


def test_names_of_witnesses_are_judged_without_a_checkpoint() -> None:
    assert (TWO_OF_THREE.satisfied_by(["w1", "w3"]), TWO_OF_THREE.satisfied_by(["w3", "g"])) == (True, False)


def test_fewer_than_a_quorum_is_not() -> None:
    # SPEC: PO-12 cosigned according to the quorum
    verdict = TWO_OF_THREE.cosigned(opened(W2))
    assert not verdict.met
    assert verdict.explain()[-2:] == ("group g: 1 of 3 members, 2 needed (w2): not met", "quorum g: not met")


def test_a_group_that_nobody_reached_lists_no_names() -> None:
    assert TWO_OF_THREE.cosigned(opened()).explain()[3] == "group g: 0 of 3 members, 2 needed: not met"


def test_a_met_group_counts_for_the_group_above_it() -> None:
    policy = Policy.parse(text("group g 2 w1 w2", "group h all g w3", "quorum h"))
    assert policy.cosigned(opened(W1, W2, W3)).met
    assert not policy.cosigned(opened(W1, W3)).met


def test_a_quorum_can_be_a_single_witness() -> None:
    policy = Policy.parse(text("quorum w2"))
    assert (policy.cosigned(opened(W2)).met, policy.cosigned(opened(W1)).met) == (True, False)


def test_any_one_of_the_listed_logs_suffices() -> None:
    # SPEC: PO-12 any one of the listed logs, not all of them
    policy = Policy.parse(LOG_LINE + f"log {OTHER_LOG.verifier_key}\nquorum none\n".encode())
    verdict = policy.cosigned(opened())
    assert (verdict.logs, verdict.met, verdict.explain()) == (
        (PolicyLog(LOG.verifier_key),),
        True,
        ("quorum none: met",),
    )


def test_a_log_that_signed_for_another_origin_signed_nothing() -> None:
    # SPEC: PO-6 the key name corresponds to the origin line
    policy = Policy.parse(f"log {OTHER_LOG.verifier_key}\nquorum none\n".encode())
    raw = sign_checkpoint(CHECKPOINT, OTHER_LOG)
    assert policy.cosigned(open_checkpoint(raw, [OTHER_LOG.verifier_key])).logs == ()


def test_a_cosignature_without_a_time_does_not_count() -> None:
    # SPEC: CS-20 a witness's cosignature has a timestamp that is not zero
    witness = mldsa_key("witness.example/1")
    policy = Policy.parse(f"witness w {witness.verifier_key}\nquorum w\n".encode())
    verdict = policy.cosigned(opened(witness, time=0))
    assert (verdict.met, verdict.explain()[0]) == (
        False,
        "witness w (witness.example/1): not counted, the cosignature states no time",
    )
    assert policy.cosigned(opened(witness)).met


def test_a_log_is_no_witness_of_itself() -> None:
    itself = mldsa_key("log.example/one")
    policy = Policy.parse(f"log {itself.verifier_key}\nwitness w {itself.verifier_key}\nquorum w\n".encode())
    verdict = policy.cosigned(opened(itself))
    assert (verdict.met, verdict.explain()[0]) == (
        False,
        "witness w (log.example/one): not counted, a log does not witness itself",
    )


def test_lines_that_were_not_verified_do_not_count() -> None:
    raw = cosign(sign_checkpoint(CHECKPOINT, LOG), W1, W2)
    assert not TWO_OF_THREE.cosigned(open_checkpoint(raw, [LOG.verifier_key])).met


def test_the_same_key_bytes_under_another_name_do_not_count() -> None:
    impostor = SignerKey("other.example/1", W1.type, W1.seed)
    assert TWO_OF_THREE.cosigned(opened(impostor, W2)).witnesses[0].time is None


def test_a_repeated_line_counts_once() -> None:
    note = opened(W1).note
    doubled = Note(note.text, (*note.signatures, note.signatures[-1]))
    assert not TWO_OF_THREE.cosigned(open_checkpoint(doubled, [LOG.verifier_key, *TWO_OF_THREE.witness_keys])).met


def test_an_explanation_is_safe_to_print() -> None:
    data = f"witness \u009b[31m\udcff {W1.verifier_key}\nquorum \u009b[31m\udcff\n".encode("utf-8", "surrogateescape")
    first, last = Policy.parse(data).cosigned(opened()).explain()
    assert (first, last) == (
        r"witness \x9b[31m\udcff (witness.example/1): no cosignature",
        r"quorum \x9b[31m\udcff: not met",
    )


def test_the_figures_of_a_policy_count_parties_by_key_name() -> None:
    again = mldsa_key("witness.example/1").verifier_key
    lines = ["group one any w1 w4", "group g 2 one w2 w3", "quorum g"]
    policy = Policy.parse(WITNESSES + "".join(f"{line}\n" for line in [f"witness w4 {again}", *lines]).encode())
    figures = (policy.minq(), policy.inter(), policy.block(), policy.cost(["w2"]), policy.margin(["w4", "w2"]))
    assert figures == (2, 1, 2, 1, 0)


def test_cosignatures_from_before_a_time_do_not_count_where_one_is_given() -> None:
    # SPEC: P-11 an application can ask for a freshness of its own
    assert TWO_OF_THREE.cosigned(opened(W1, W2), NOW).met
    verdict = TWO_OF_THREE.cosigned(opened(W1, W2), NOW + 3)
    assert not verdict.met
    assert verdict.explain()[0].endswith("not counted, the cosignature is 3 seconds too old")
