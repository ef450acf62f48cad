"""Each rule finds what it is for, is right about what it is not for, and no entry keeps it busy or makes it raise."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from monitor.watch import CertificateNames, Digests, JsonPath, ModulePaths, Pattern, Rule, Substring, Watch, matched
from monitor.watch.core import AROUND, MAX_EXCERPT
from monitor.watch.json_path import TOO_DEEP
from tests.vectors import vector
from tlog.hashing import leaf_hash
from tlog.static_ct import TileLeaf, format_extensions, parse_leaves, parse_merkle_tree_leaf

LARGEST = 65_535


def finds(rule: Rule, entry: bytes) -> bool:
    return matched(Watch("w", rule), entry) is not None


# Text.


def test_a_substring_is_found_between_bytes_that_are_no_text() -> None:
    assert Substring(b"needle").find(b"\xff\xfe needle \x00") == ("\N{REPLACEMENT CHARACTER}" * 2 + " needle \x00",)


def test_what_is_shown_has_no_control_characters_and_is_short() -> None:
    found = matched(Watch("w", Substring(b"needle")), b"\x1b[31m needle " + b"x" * 1000)
    assert found == ("\N{REPLACEMENT CHARACTER}[31m needle " + "x" * 39 + "…",)
    long = matched(Watch("w", Substring(b"n" * 300)), b"n" * 300)
    assert long is not None
    assert len(long[0]) == MAX_EXCERPT


@pytest.mark.parametrize(
    ("before", "behind", "shown"),
    [
        (0, 0, "needle"),
        (AROUND, AROUND, "a" * AROUND + "needle" + "b" * AROUND),
        (AROUND + 1, 0, "…" + "a" * AROUND + "needle"),
        (0, AROUND + 1, "needle" + "b" * AROUND + "…"),
        (AROUND + 1, AROUND + 1, "…" + "a" * AROUND + "needle" + "b" * AROUND + "…"),
    ],
)
def test_what_is_cut_off_is_shown_to_be_on_either_side(before: int, behind: int, shown: str) -> None:
    entry = b"a" * before + b"needle" + b"b" * behind
    assert matched(Watch("w", Substring(b"needle")), entry) == (shown,)
    assert matched(Watch("w", Pattern.compile("needle")), entry) == (shown,)


def test_nothing_is_found_where_nothing_is() -> None:
    assert matched(Watch("w", Substring(b"needle")), b"hay") is None


def test_an_expression_looks_at_bytes() -> None:
    assert finds(Pattern.compile("evil.*name"), b"evil \xff\xfe name")
    assert finds(
        Pattern.compile("caf\N{LATIN SMALL LETTER E WITH ACUTE}"), "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()
    )
    assert not finds(Pattern.compile("evil.*name"), b"evil\nname")
    assert finds(Pattern.compile("(?is)EVIL.*name"), b"evil\nname")


@pytest.mark.parametrize("expression", ["", "a" * 1025, "(", r"(a)\1", "(?=a)", "a{2000}", "(((a{100}){100}){100})"])
def test_refuses_an_expression_that_is_none(expression: str) -> None:
    with pytest.raises(ValueError, match=r"RE2|characters"):
        Pattern.compile(expression)


# JSON.


@pytest.mark.parametrize(
    ("path", "equals", "matches", "document", "found"),
    [
        ("$.name", None, None, {"name": None}, True),
        ("$.name", None, None, {"other": 1}, False),
        ("$.name", "a", None, {"name": "a"}, True),
        ("$.name", "a", None, {"name": "b"}, False),
        ("$.flag", True, None, {"flag": True}, True),
        ("$.flag", True, None, {"flag": 1}, False),
        ("$.flag", 1, None, {"flag": True}, False),
        ("$.flag", 1, None, {"flag": 1.0}, True),
        ("$..name", None, "^a+$", {"x": [{"name": "b"}, {"name": "aaa"}]}, True),
        ("$.name", None, "1", {"name": 1}, False),
        ("$.list[?@.k == 'v'].value", "x", None, {"list": [{"k": "u", "value": "x"}, {"k": "v", "value": "y"}]}, False),
        ("$.list[?@.k == 'v'].value", "y", None, {"list": [{"k": "u", "value": "x"}, {"k": "v", "value": "y"}]}, True),
        ("$[?length(@.name) > 3]", None, None, [{"name": "abcd"}], True),
        ("$", "plain", None, "plain", True),
        ("$.x", None, None, '{"x": 1}', False),
    ],
)
def test_a_json_path_leads_to_a_value(
    path: str, equals: str | int | None, matches: str | None, document: object, found: bool
) -> None:
    assert finds(JsonPath.compile(path, equals, matches), json.dumps(document).encode()) is found


@pytest.mark.parametrize(
    "path",
    [
        "",
        "name",
        "$.a" * 500,
        "$" + ".a" * 33,
        "$..a..b",
        "$[?@..a == 1]..b",
        "$[?$.a == 1]",
        "$[?@.a == 1 && !(count($.b) > 1)]",
        "$[?match(@.a, '(a+)+')]",
        "$[?search(@.a, 'a')]",
        "$.a | $.b",
        "$.a & $.b",
        "$.a ",
    ],
)
def test_refuses_a_path_whose_time_an_entry_could_choose(path: str) -> None:
    with pytest.raises(ValueError, match="JSON path"):
        JsonPath.compile(path)


@pytest.mark.parametrize("entry", [b"", b"\xff", b"{", b'{"a": "\xff"}', b"nonsense", b'{"a": 1} x'])
def test_what_is_not_json_is_not_meant(entry: bytes) -> None:
    assert not finds(JsonPath.compile("$..a"), entry)


@pytest.mark.parametrize("depth", [200, 900, 30_000])
def test_json_that_nests_too_deeply_is_shown_and_not_passed_over(depth: int) -> None:
    entry = b'{"x":' * (depth if depth < 10_000 else 9_000) + b'{"name": "hidden"}' + b"}" * depth
    deep = b"[" * depth + b"]" * depth
    assert JsonPath.compile("$..name").find(deep) == (TOO_DEEP,)
    assert depth > 9_000 or JsonPath.compile("$..name").find(entry) == (TOO_DEEP,)


# Modules.


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("example.com/team", "example.com/team", True),
        ("example.com/team", "example.com/team/sub/v2", True),
        ("example.com/team/", "example.com/team/sub", True),
        ("example.com/team", "example.com/teams", False),
        ("example.com/team", "example.com", False),
        ("*.example.com", "a.example.com/x", True),
        ("*.example.com", "a/example.com", False),
        ("*", "anything.example/x", True),
        ("exampl?.com", "example.com/x", True),
        ("exampl?.com", "exampl/.com", False),
        ("exampl[a-f].com", "example.com/x", True),
        ("exampl[^a-f].com", "example.com", False),
        ("exampl[^x].com", "example.com", True),
        (r"a\*.com", "a*.com", True),
        (r"a\*.com", "ab.com", False),
        ("a.c", "abc", False),
        ("a+[+.]", "a++", True),
    ],
)
def test_module_paths_match_as_in_goprivate(pattern: str, path: str, found: bool) -> None:
    record = f"{path} v1.0.0 h1:abc=\n{path} v1.0.0/go.mod h1:def=\n".encode()
    assert finds(ModulePaths.compile([pattern]), record) is found


def test_a_match_of_a_module_names_its_version() -> None:
    record = b"example.com/m v1.0.0 h1:abc=\nexample.com/m v1.0.0/go.mod h1:def=\n"
    assert ModulePaths.compile(["example.com"]).find(record) == (
        "example.com/m v1.0.0",
        "example.com/m v1.0.0/go.mod",
    )


@pytest.mark.parametrize(
    "patterns", [[], [""], ["/"], ["a["], ["a[]"], ["a[^]"], ["a[-b]"], ["a[z-b]"], ["a\\"], [r"[\]]"], ["x" * 1025]]
)
def test_refuses_a_pattern_that_is_none(patterns: list[str]) -> None:
    with pytest.raises(ValueError, match=r"pattern|RE2"):
        ModulePaths.compile(patterns)


# Digests.

DIGEST = hashlib.sha256(b"artefact").digest()
LONG = hashlib.sha512(b"artefact").digest()


@pytest.mark.parametrize(
    "entry",
    [
        b"artefact",
        b"xx" + DIGEST + b"yy",
        b"sha256:" + DIGEST.hex().encode(),
        DIGEST.hex().upper().encode() + b"  file",
        b"00" + DIGEST.hex().encode() + b"f",
        b"h1:" + base64.b64encode(DIGEST),
        b'"' + base64.b64encode(DIGEST).rstrip(b"=") + b'"',
        b'"' + base64.urlsafe_b64encode(DIGEST) + b'"',
        b"+" + base64.b64encode(DIGEST),
    ],
)
def test_a_digest_is_found_in_every_spelling(entry: bytes) -> None:
    assert Digests.parse(DIGEST.hex().encode()).find(entry) == (DIGEST.hex(),)


def test_a_digest_may_be_the_hash_of_the_leaf() -> None:
    assert finds(Digests(frozenset([leaf_hash(b"entry")])), b"entry")


def test_a_digest_may_be_the_fingerprint_of_a_certificate() -> None:
    leaf = leaf_of(certificate(["example.com"]))
    fingerprint = hashlib.sha256(parse_merkle_tree_leaf(leaf).certificate).digest()
    assert finds(Digests(frozenset([fingerprint])), leaf)


def test_digests_of_other_sizes_are_found_too() -> None:
    rule = Digests.parse(b"# releases\n\n" + LONG.hex().encode() + b"  release.tar\n" + DIGEST.hex().encode() + b"\r\n")
    assert rule.find(b"sha512-" + base64.b64encode(LONG)) == (LONG.hex(),)
    assert not finds(rule, b"something else")


@pytest.mark.parametrize("data", [b"", b"# only this", b"xyz", b"ab" * 31, b"a" * 65, b"ab" * 33])
def test_refuses_a_list_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="list of digests"):
        Digests.parse(data)


# Certificates.

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(names: Sequence[str | x509.GeneralName], common: str = "subject") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(subject, subject, KEY.public_key(), 1, now, now + timedelta(days=1))
    if names:
        general = [x509.DNSName(one) if isinstance(one, str) else one for one in names]
        made = made.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return made.sign(KEY, SHA256())


def leaf_of(made: x509.Certificate) -> bytes:
    return TileLeaf(1, made.public_bytes(Encoding.DER), format_extensions(1)).merkle_tree_leaf()


def pre_leaf_of(made: x509.Certificate) -> bytes:
    tbs = made.tbs_certificate_bytes
    return TileLeaf(1, tbs, format_extensions(1), issuer_key_hash=b"\x01" * 32).merkle_tree_leaf()


def names(*watched: str) -> CertificateNames:
    return CertificateNames.of(watched)


@pytest.mark.parametrize("leaf", [leaf_of, pre_leaf_of])
@pytest.mark.parametrize(
    ("watched", "name", "found"),
    [
        ("example.com", "example.com", True),
        ("Example.COM", "eXample.com.", True),
        ("example.com", "www.example.com", False),
        (".example.com", "www.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "*.example.com", True),
        (".example.com", "badexample.com", False),
        ("www.example.com", "*.example.com", True),
        ("a.www.example.com", "*.example.com", False),
        ("example.com", "*.example.com", False),
        ("example.com", "example.com\x00.evil.example", True),
        (".example.com", "a" + ".a" * 200 + ".example.com", True),
    ],
)
def test_names_match_whatever_their_case(
    leaf: Callable[[x509.Certificate], bytes], watched: str, name: str, found: bool
) -> None:
    assert finds(names(watched), leaf(certificate([name]))) is found


def test_names_are_taken_from_every_field_that_has_them() -> None:
    made = certificate(
        [
            x509.RFC822Name("me@mail.example"),
            x509.UniformResourceIdentifier("https://user@uri.example:8443/path"),
            x509.IPAddress(ip_address("2001:db8::1")),
            x509.RegisteredID(NameOID.COMMON_NAME),
        ],
        common="common.example",
    )
    found = [
        names(one).find(leaf_of(made)) for one in ("mail.example", "uri.example", "2001:DB8:0::1", "common.example")
    ]
    assert found == [("mail.example",), ("uri.example",), ("2001:db8::1",), ("common.example",)]


def test_a_certificate_without_names_has_its_subject() -> None:
    assert finds(names("only.example"), leaf_of(certificate([], common="only.example")))


def test_the_names_of_real_certificates_and_precertificates_are_read() -> None:
    leaves = parse_leaves(vector("FiloSottile-sunlight/navigli2025h2/tile/data/000").read_bytes(), 0, 256)
    found = [names(".com", ".net", ".org", ".io", ".de", ".uk").find(leaf.merkle_tree_leaf()) for leaf in leaves]
    assert sum(bool(one) for one in found) > 100
    assert not [one for one in found if one and one[0].startswith("in a certificate")]


def test_a_certificate_that_cannot_be_parsed_is_searched_as_text() -> None:
    der = certificate(["hidden.example"]).public_bytes(Encoding.DER)
    broken = TileLeaf(1, der[:-1], format_extensions(1)).merkle_tree_leaf()
    assert names(".hidden.example").find(broken)[0].startswith("in a certificate that cannot be parsed")
    assert not finds(names("other.example"), broken)


@pytest.mark.parametrize(
    ("written", "watched"),
    [
        ("*.hidden.example", "www.hidden.example"),
        (x509.IPAddress(ip_address("198.51.100.90")), "198.51.100.90"),
        (x509.IPAddress(ip_address("2001:db8::5a41")), "2001:db8::5a41"),
    ],
)
def test_text_that_stands_for_a_name_is_found_where_nothing_can_be_parsed(
    written: str | x509.GeneralName, watched: str
) -> None:
    der = certificate([written]).public_bytes(Encoding.DER)
    broken = TileLeaf(1, der[:-1], format_extensions(1)).merkle_tree_leaf()
    assert finds(names(watched), broken)
    assert not finds(names("www.other.example", "198.51.100.91", "2001:db8::1"), broken)


def test_a_certificate_of_a_version_that_there_is_not_is_searched_as_text() -> None:
    der = certificate(["hidden.example"]).public_bytes(Encoding.DER)
    odd = TileLeaf(1, der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1), format_extensions(1))
    assert names("hidden.example").find(odd.merkle_tree_leaf())[0].startswith("in a certificate that cannot be parsed")


@pytest.mark.parametrize("tbs", [b"\x30\x00", b"\x30\x03\x02\x01\x01", b"\x31\x00", b"junk example.com"])
def test_a_precertificate_without_structure_is_searched_as_text(tbs: bytes) -> None:
    leaf = TileLeaf(1, tbs, format_extensions(1), issuer_key_hash=b"\x01" * 32).merkle_tree_leaf()
    assert finds(names("example.com"), leaf) is (b"example.com" in tbs)


def test_what_is_no_entry_of_a_certificate_log_has_no_names() -> None:
    assert not finds(names("example.com"), b"example.com")


@pytest.mark.parametrize(
    "watched", [[], ["*.example.com"], [""], ["."], ["a b"], ["b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example"]]
)
def test_refuses_names_that_are_none(watched: list[str]) -> None:
    with pytest.raises(ValueError, match="name"):
        CertificateNames.of(watched)


# Entries that were written to be overlooked, or to keep the monitor busy.

RULES: list[Rule] = [
    Substring(b"needle"),
    Pattern.compile("(a+)+$"),
    Pattern.compile("(a|aa)*b"),
    Pattern.compile("(.*)(.*)(.*)(.*)x{500}y"),
    JsonPath.compile("$..a[?@.b == 'c']", matches="(a+)+$"),
    JsonPath.compile("$.*.*.*[?@.*.*]"),
    ModulePaths.compile(["*a*a*a*a*b", "?" * 500, "[a-z]*/*/*/*x"]),
    Digests(frozenset([DIGEST, LONG])),
    names(".example.com", "www.example.net"),
]
HOSTILE = [
    b"",
    b"\x00" * LARGEST,
    b"\xff" * LARGEST,
    b"a" * LARGEST,
    b"/" * LARGEST,
    b"\n" * LARGEST,
    b"+" * LARGEST,
    b"[" * LARGEST,
    b'{"a":' * (LARGEST // 5),
    b"[" * (LARGEST // 2) + b"]" * (LARGEST // 2),
    b"[" + b"0," * (LARGEST // 2 - 1) + b"0]",
    b'{"a":[' + b'{"b":"d"},' * 6000 + b'{"b":"c"}]}',
    b"[" + b"9" * (LARGEST - 2) + b"]",
    b'"' + b"\\ud800" * 10_000 + b'"',
    b"[1e999999999]",
    b"a/" * (LARGEST // 2) + b" v1",
    b"\x00\x00" + b"\xff" * (LARGEST - 2),
    TileLeaf(1, b"\x30\x84\xff\xff\xff\xff" + b"\x30" * 60_000, b"").merkle_tree_leaf(),
    TileLeaf(1, b"\x30\x80" * 30_000, b"", issuer_key_hash=b"\x00" * 32).merkle_tree_leaf(),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__}")
def test_no_entry_makes_a_rule_raise(rule: Rule) -> None:
    for entry in HOSTILE:
        matched(Watch("w", rule), entry)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__}")
@given(entry=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_a_rule_raise(rule: Rule, entry: bytes) -> None:
    matched(Watch("w", rule), entry)
    matched(Watch("w", rule), TileLeaf(1, entry or b"x", b"").merkle_tree_leaf())
