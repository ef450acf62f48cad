"""How each kind of log is read, and what is said of bytes that no tree commits to."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from monitor.kinds import Kind
from monitor.sources.chains import is_issuer, objection
from monitor.sources.kinds import source_of
from monitor.sources.source import NotServed, Source
from monitor.sources.static_ct import (
    COMPLAINT_SECONDS,
    MAX_COMPLAINTS,
    MAX_NEW_ISSUERS,
    RETRY_SECONDS,
    StaticCtSource,
)
from runtime.client import Failure, FetchError, Response
from tlog.precertificate import parse_precertificate
from tlog.static_ct import TileLeaf, data_tile_path, format_extensions, format_leaves, issuer_path
from tlog.tiles import EntryBundle, Tile, format_entries

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


class Web:
    """Files by their address."""

    def __init__(self, **files: bytes) -> None:
        self.files: dict[str, bytes] = dict(files)
        self.asked: list[str] = []
        self.gunzip: list[bool] = []
        self.status = 200
        self.failing: str | None = None

    async def fetch(
        self, method: str, url: str, *, cap: int, seconds: float, gunzip: bool = False, **_: object
    ) -> Response:
        path = url.removeprefix("http://log/")
        self.asked.append(path)
        self.gunzip.append(gunzip)
        if self.failing is not None and path.startswith(self.failing):
            raise FetchError(Failure.UNREACHABLE, "the server cannot be reached")
        found = self.files.get(path)
        return Response(404, {}, b"") if found is None else Response(self.status, {}, found)


def key(number: int) -> EllipticCurvePrivateKey:
    return derive_private_key(number, SECP256R1())


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(name: str, issuer: str, number: int, signer: int, *extensions: x509.ExtensionType) -> bytes:
    builder = x509.CertificateBuilder(named(issuer), named(name), key(number).public_key(), 7, WHEN, WHEN)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.PrecertPoison))
    return builder.sign(key(signer), SHA256()).public_bytes(Encoding.DER)


def key_hash(number: int) -> bytes:
    public = key(number).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(public).digest()


CA = certificate("CA", "CA", 1, 1)
OTHER_CA = certificate("CA", "CA", 2, 2)
STAND_IN = certificate(
    "stand-in", "CA", 3, 1, x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.4")])
)
NAMES = x509.SubjectAlternativeName([x509.DNSName("a.example")])
PRECERTIFICATE = certificate("a.example", "CA", 9, 1, x509.PrecertPoison(), NAMES)
BY_STAND_IN = certificate("a.example", "stand-in", 9, 3, x509.PrecertPoison(), NAMES)
FINAL = certificate("a.example", "CA", 9, 1, NAMES)


def fingerprint(der: bytes) -> bytes:
    return sha256(der).digest()


def logged(index: int, whole: bytes = PRECERTIFICATE, *chain: bytes) -> TileLeaf:
    """A precertificate as a log takes it."""
    chain = chain or (CA,)
    tbs = parse_precertificate(whole).tbs_certificate
    return TileLeaf(1, tbs, format_extensions(index), tuple(map(fingerprint, chain)), key_hash(1), whole)


def served(*leaves: TileLeaf, issuers: tuple[bytes, ...] = (CA,)) -> tuple[Web, StaticCtSource, EntryBundle]:
    bundle = EntryBundle(0, len(leaves))
    web = Web()
    web.files[data_tile_path(bundle)] = format_leaves(leaves)
    web.files |= {issuer_path(fingerprint(der)): der for der in issuers}
    return web, StaticCtSource("http://log", web.fetch), bundle


# Where things are.


@cache
def reader(kind: Kind, url: str = "http://log") -> Source:
    return source_of(kind, url, Web().fetch)


@pytest.mark.parametrize(
    ("kind", "bundle", "tile"),
    [
        (Kind.TILES, "tile/entries/x001/067.p/8", "tile/0/x001/067"),
        (Kind.REKOR2, "tile/entries/x001/067.p/8", "tile/0/x001/067"),
        (Kind.SUMDB, "tile/8/data/x001/067.p/8", "tile/8/0/x001/067"),
        (Kind.STATIC_CT, "tile/data/x001/067.p/8", "tile/0/x001/067"),
    ],
)
def test_each_kind_keeps_bundles_and_tiles_in_its_places(kind: Kind, bundle: str, tile: str) -> None:
    assert reader(kind).path(EntryBundle(1067, 8)) == bundle
    assert reader(kind).path(Tile(0, 1067)) == tile


@pytest.mark.parametrize(
    ("kind", "url", "path"),
    [
        (Kind.TILES, "http://log", "checkpoint"),
        (Kind.SUMDB, "http://log", "latest"),
        (Kind.REKOR2, "http://log", "api/v2/checkpoint"),
        (Kind.REKOR2, "http://log/api/v2", "api/v2/checkpoint"),
        (Kind.STATIC_CT, "http://log", "checkpoint"),
    ],
)
async def test_each_kind_shows_its_checkpoint_in_its_place(kind: Kind, url: str, path: str) -> None:
    web = Web()
    web.files[path] = b"note"
    assert await source_of(kind, url, web.fetch).checkpoint() == b"note"
    del web.files[path]
    with pytest.raises(NotServed, match="no checkpoint"):
        await source_of(kind, url, web.fetch).checkpoint()


@pytest.mark.parametrize("kind", list(Kind))
async def test_where_a_partial_bundle_is_gone_the_full_one_is_taken(kind: Kind) -> None:
    # SPEC: T-14, C-12 the full tile serves where the partial one is gone
    web = Web()
    source = source_of(kind, "http://log", web.fetch)
    prefix = "api/v2/" if kind is Kind.REKOR2 else ""
    web.files[prefix + source.path(EntryBundle(3))] = b"full"
    web.files[prefix + source.path(Tile(0, 3))] = bytes(8192)
    bundle = await source.bundle(EntryBundle(3, 7))
    assert (bundle.data, bundle.width) == (b"full", 256)
    assert await source.tile(Tile(0, 3, 7)) == bytes(7 * 32)
    assert list(source.complaints()) == []


async def test_what_no_log_serves_and_what_fails_is_told_apart() -> None:
    web = Web()
    source = source_of(Kind.TILES, "http://log", web.fetch)
    for ask in (source.bundle(EntryBundle(3)), source.tile(Tile(0, 3)), source.tile(Tile(0, 3, 7))):
        with pytest.raises(NotServed, match="that it signed"):
            await ask
    web.files["checkpoint"], web.status = b"", 500
    with pytest.raises(NotServed, match="status 500"):
        await source.checkpoint()
    web.failing = ""
    with pytest.raises(NotServed, match="cannot be reached"):
        await source.checkpoint()


def test_each_kind_reads_its_entries() -> None:
    bundle = EntryBundle(0, 1)
    assert list(reader(Kind.TILES).entries(bundle, format_entries([b"a"]))) == [b"a"]
    assert list(reader(Kind.REKOR2).entries(bundle, format_entries([b"a"]))) == [b"a"]
    assert list(reader(Kind.SUMDB).entries(bundle, b"a v1 h1:x\n\n")) == [b"a v1 h1:x\n"]
    leaf = logged(0)
    assert list(reader(Kind.STATIC_CT).entries(bundle, leaf.format())) == [leaf.merkle_tree_leaf()]


async def test_data_tiles_may_be_compressed() -> None:
    # SPEC: C-14 clients support gzip
    web, source, bundle = served(logged(0))
    await source.bundle(bundle)
    assert web.gunzip[0]


# Chains and precertificates.


@pytest.mark.parametrize("leaf", [logged(0), logged(0, BY_STAND_IN, STAND_IN, CA)], ids=["issuer", "stand-in"])
def test_a_precertificate_of_its_issuer_is_fine(leaf: TileLeaf) -> None:
    issuers = {fingerprint(der): der for der in (CA, STAND_IN)}
    assert objection(leaf, issuers) is None
    assert objection(leaf, {}) is None


def test_a_certificate_of_its_issuer_is_fine() -> None:
    leaf = TileLeaf(1, FINAL, format_extensions(0), (fingerprint(CA),))
    assert objection(leaf, {fingerprint(CA): CA}) is None
    assert objection(leaf, {}) is None
    assert objection(replace(leaf, certificate=b"odd"), {fingerprint(CA): CA}) is None
    assert objection(replace(leaf, chain=()), {}) is None


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("at", range(0, len(PRECERTIFICATE), 7))
def test_no_byte_of_a_precertificate_can_be_changed(at: int) -> None:
    leaf = replace(logged(0), pre_certificate=flipped(PRECERTIFICATE, at))
    assert objection(leaf, {fingerprint(CA): CA}) is not None


def test_another_chain_is_objected_to() -> None:
    leaf = replace(logged(0), chain=(fingerprint(OTHER_CA),))
    assert (
        objection(leaf, {fingerprint(OTHER_CA): OTHER_CA})
        == "its chain begins with another issuer than the tree hashes"
    )
    final = TileLeaf(1, FINAL, format_extensions(0), (fingerprint(OTHER_CA),))
    said = objection(final, {fingerprint(OTHER_CA): OTHER_CA})
    assert said == "it was not issued by the first certificate of its chain"


def test_an_issuer_that_no_parser_takes_keeps_nobody_from_reading_the_log() -> None:
    of_no_version = CA.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    twice = certificate("CA", "CA", 1, 1, NAMES, x509.BasicConstraints(ca=True, path_length=None))
    twice = twice.replace(bytes.fromhex("0603551d13"), bytes.fromhex("0603551d11"), 1)
    for issuer in (of_no_version, twice):
        for leaf in (
            logged(0, PRECERTIFICATE, issuer),
            TileLeaf(1, FINAL, format_extensions(0), (fingerprint(issuer),)),
        ):
            assert objection(leaf, {fingerprint(issuer): issuer}) is None


def test_an_issuer_is_what_its_path_says() -> None:
    # SPEC: C-16 one certificate that hashes to its path
    assert is_issuer(fingerprint(CA), CA)
    assert not is_issuer(fingerprint(CA), OTHER_CA)


async def test_what_is_right_is_not_complained_about_and_issuers_are_fetched_once() -> None:
    web, source, bundle = served(logged(0), logged(1))
    for _ in range(2):
        await source.bundle(bundle)
    assert list(source.complaints()) == []
    assert [path for path in web.asked if path.startswith("issuer")] == [issuer_path(fingerprint(CA))]


async def test_a_changed_precertificate_is_named_for_a_day(autojump_clock: trio.testing.MockClock) -> None:
    _, source, bundle = served(logged(0), replace(logged(1), pre_certificate=flipped(PRECERTIFICATE, 60)))
    for _ in range(2):
        await source.bundle(bundle)
    (complaint,) = source.complaints()
    assert complaint.startswith("entry 1 in tile/data/000.p/2: ")
    await trio.sleep(COMPLAINT_SECONDS + 1)
    assert list(source.complaints()) == []


async def test_an_issuer_that_is_served_after_all_is_no_complaint_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    web, source, bundle = served(logged(0))
    path = issuer_path(fingerprint(CA))
    der = web.files.pop(path)
    await source.bundle(bundle)
    web.files[path] = der
    await source.bundle(bundle)
    assert len(source.complaints()) == 1
    assert web.asked.count(path) == 1
    await trio.sleep(RETRY_SECONDS)
    await source.bundle(bundle)
    assert (list(source.complaints()), web.asked.count(path)) == ([], 2)


async def test_an_issuer_that_is_not_served_or_another_one_is_named() -> None:
    web, source, bundle = served(logged(0), replace(logged(1), chain=(b"?" * 32,)))
    web.files[issuer_path(b"?" * 32)] = CA
    del web.files[issuer_path(fingerprint(CA))]
    await source.bundle(bundle)
    first, second = source.complaints()
    assert (
        first == f"entry 0 in tile/data/000.p/2: {issuer_path(fingerprint(CA))}, which its chain names, is not served"
    )
    assert second.endswith("is another certificate")


async def test_an_issuer_is_asked_for_again_when_the_log_did_not_answer() -> None:
    web, source, bundle = served(logged(0))
    web.failing = "issuer"
    await source.bundle(bundle)
    assert list(source.complaints()) == []
    web.failing = None
    await source.bundle(bundle)
    assert web.asked.count(issuer_path(fingerprint(CA))) == 2


async def test_a_log_that_answers_nothing_about_issuers_is_asked_for_one_of_a_data_tile() -> None:
    web, source, bundle = served(*(replace(logged(at), chain=(bytes([at]) * 32,)) for at in range(9)))
    web.failing = "issuer"
    await source.bundle(bundle)
    assert len([path for path in web.asked if path.startswith("issuer")]) == 1


async def test_a_log_that_makes_up_issuers_is_asked_for_few() -> None:
    chains = [replace(logged(at), chain=(bytes([at]) * 32,)) for at in range(MAX_NEW_ISSUERS + 9)]
    web, source, bundle = served(*chains)
    await source.bundle(bundle)
    assert len([path for path in web.asked if path.startswith("issuer")]) == MAX_NEW_ISSUERS


async def test_a_log_that_is_all_wrong_is_told_of_a_few_times() -> None:
    wrong = [replace(logged(at), pre_certificate=b"?") for at in range(MAX_COMPLAINTS + 9)]
    _, source, bundle = served(*wrong)
    await source.bundle(bundle)
    assert len(source.complaints()) == MAX_COMPLAINTS


async def test_a_malformed_data_tile_is_left_to_whoever_hashes_it() -> None:
    web, source, bundle = served(logged(0))
    web.files[data_tile_path(bundle)] = b"?"
    assert (await source.bundle(bundle)).data == b"?"
    assert list(source.complaints()) == []
