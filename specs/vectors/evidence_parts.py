"""What the vectors of specs/evidence.md are made of: keys, policies, two trees, heads signed at will, good bundles."""

from dataclasses import dataclass, field, replace
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurve, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.forks import CertificateLogKey, Tree, leaves
from tlog.checkpoint import Checkpoint
from tlog.evidence import Evidence, EvidenceType, Opening, Openings, non_consistent, openings, quorum_split, same_size
from tlog.evidence.bundle import Proof
from tlog.hashing import TreeHead, leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, SignatureLine, message_to_sign, signature_line
from tlog.policy import Policy
from tlog.proofs import prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

ORIGIN = "log.example/one"
TIME = 1767139200  # 2025-12-31T00:00:00Z


class EcdsaKey:
    """A key of type 0x02, which the project itself only verifies. Its signatures are those of RFC 6979."""

    def __init__(self, name: str, curve: EllipticCurve, secret: int = 2) -> None:
        self._private = derive_private_key(secret, curve)
        spki = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.verifier_key = VerifierKey.of(name, KeyType.ECDSA, spki)

    def line(self, checkpoint: Checkpoint) -> SignatureLine:
        """The line with which it signs a checkpoint."""
        return self.line_under(checkpoint.format())

    def line_under(self, text: bytes) -> SignatureLine:
        """The line with which it signs any text."""
        value = self._private.sign(text, ECDSA(SHA256(), deterministic_signing=True))
        return signature_line(self.verifier_key, 0, value)


AnyKey = SignerKey | CertificateLogKey | EcdsaKey


def _key(name: str, type_: KeyType, number: int = 1) -> SignerKey:
    return SignerKey(
        name, type_, sha256(f"evidence vectors: {name}, type {type_.value}, key {number}".encode()).digest()
    )


LOG = _key(ORIGIN, KeyType.ED25519)
LOG_2 = _key(ORIGIN, KeyType.ED25519, 2)
LOG_MLDSA = _key(ORIGIN, KeyType.COSIGNATURE_MLDSA44)
LOG_ECDSA = EcdsaKey(ORIGIN, SECP256R1())
CT = CertificateLogKey(ORIGIN)
CT_NAMESAKE = CertificateLogKey("log.example/two", secret=6)
LONG_LOG = _key("log.example/" + "long" * 60 + "one", KeyType.ED25519)  # 255 bytes
W1_AS_LOG = _key("witness.example/w1", KeyType.ED25519)
SECOND_LOG = _key("log.example/two", KeyType.ED25519)
W1 = _key("witness.example/w1", KeyType.COSIGNATURE_ED25519)
W2 = _key("witness.example/w2", KeyType.COSIGNATURE_ED25519)
W3 = _key("witness.example/w3", KeyType.COSIGNATURE_ED25519)
W1_MLDSA = _key("witness.example/w1", KeyType.COSIGNATURE_MLDSA44)
W2_MLDSA = _key("witness.example/w2", KeyType.COSIGNATURE_MLDSA44)
STRANGER = _key("witness.example/stranger", KeyType.COSIGNATURE_ED25519)

KEYS: dict[str, AnyKey] = {
    "log": LOG,
    "log-second-key": LOG_2,
    "log-mldsa44": LOG_MLDSA,
    "log-ecdsa": LOG_ECDSA,
    "log-rfc6962": CT,
    "second-log-rfc6962": CT_NAMESAKE,
    "long-log": LONG_LOG,
    "w1-as-log": W1_AS_LOG,
    "second-log": SECOND_LOG,
    "w1": W1,
    "w2": W2,
    "w3": W3,
    "w1-mldsa44": W1_MLDSA,
    "w2-mldsa44": W2_MLDSA,
}
LABELS = {key.verifier_key: label for label, key in KEYS.items()}
_WITNESSES = "".join(f"witness w{i} {key.verifier_key}\n" for i, key in enumerate((W1, W2, W3), 1))
_TWO_OF_THREE = f"{_WITNESSES}group two-of-three 2 w1 w2 w3\nquorum two-of-three\n"
POLICY = f"log {LOG.verifier_key}\n{_TWO_OF_THREE}"
POLICIES = {
    "two-of-three": POLICY,
    "no-log": _TWO_OF_THREE,
    "a-witness-is-the-log": f"log {W1_AS_LOG.verifier_key}\n{_TWO_OF_THREE}",
    "nobody": f"log {LOG.verifier_key}\nquorum none\n",
    "two-keys-of-w1": (
        f"# w1 counts once, with either key\nlog {LOG.verifier_key}\n{_WITNESSES}"
        f"witness w1-mldsa44 {W1_MLDSA.verifier_key}\ngroup either any w1 w1-mldsa44\n"
        "group both all either w2\nquorum both\n"
    ),
}

LOW, HIGH = sorted((leaf_hash(b"one root"), leaf_hash(b"another root")))
MAIN = Tree(leaves(101))
FORK = Tree(leaves(70, "fork", common=40))


@dataclass(frozen=True, slots=True)
class Vector:
    """One bundle and the trusted input it is judged with."""

    name: str
    about: str
    bundle: bytes
    keys: tuple[str, ...] = ("log",)
    policy: str | None = None
    origin: str | None = None


@dataclass(slots=True)
class Signatures:
    """The signatures of the one scheme that never makes the same twice."""

    known: dict[str, str]
    used: dict[str, str] = field(default_factory=dict)

    def sign(self, key: SignerKey, message: bytes) -> bytes:
        """Return the signature that was kept, or make one and keep it."""
        name = sha256(message).hexdigest()
        made = self.known.get(name) or key.sign(message).hex()
        self.used[name] = made
        return bytes.fromhex(made)


class Maker:
    """Signs heads, and makes bundles that convict, for those who put vectors together."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    def head(
        self,
        tree: TreeHead,
        *keys: AnyKey,
        time: int = TIME,
        origin: str = ORIGIN,
        extensions: tuple[bytes, ...] = (),
    ) -> SignedCheckpoint:
        """A head with a line of each key, in this order."""
        checkpoint = Checkpoint(origin, tree.size, tree.root_hash, extensions)
        note = Note(checkpoint.format(), tuple(self.line(checkpoint, key, time) for key in keys))
        return open_checkpoint(note, [key.verifier_key for key in keys])

    def line(self, checkpoint: Checkpoint, key: AnyKey, time: int) -> SignatureLine:
        """The line with which a key signs a checkpoint."""
        if isinstance(key, CertificateLogKey):
            return key.line(checkpoint, 1000 * time)
        if isinstance(key, EcdsaKey):
            return key.line(checkpoint)
        message = message_to_sign(key.verifier_key, checkpoint.format(), time)
        sign = self._signatures.sign if key.type is KeyType.COSIGNATURE_MLDSA44 else SignerKey.sign
        return signature_line(key.verifier_key, time, sign(key, message))

    def main(self, size: int, *keys: AnyKey, time: int = TIME, origin: str = ORIGIN) -> SignedCheckpoint:
        """A head of the main tree."""
        return self.head(MAIN.head(size), *(keys or (LOG,)), time=time, origin=origin)

    def fork(self, size: int, *keys: AnyKey, time: int = TIME, origin: str = ORIGIN) -> SignedCheckpoint:
        """A head of the fork."""
        return self.head(FORK.head(size), *(keys or (LOG,)), time=time, origin=origin)

    def same_size(self) -> bytes:
        """A bundle against the log, of the smallest kind."""
        return same_size(self.main(60), self.fork(60)).format()

    def non_consistent(self) -> bytes:
        """A bundle against the log that needs a consistency proof."""
        return non_consistent(self.fork(70), self.main(101), MAIN.read).format()

    def openings(self, level: int = 2) -> Evidence:
        """A bundle against the log that shows what one place holds in two trees."""
        one, other = self.main(101), self.fork(70)
        return openings(one, opening_of(MAIN, 50, 101), other, opening_of(FORK, 50, 70), 50, level)

    def quorum_split(self) -> bytes:
        """A bundle that names the witnesses on both sides."""
        one, other = self.fork(70, LOG, W1, W2), self.main(101, LOG, W2, W3)
        return quorum_split(one, other, Policy.parse(POLICY.encode()), MAIN.read).format()

    def roots(self, *keys: AnyKey, size: int = 60, time: int = TIME, origin: str = ORIGIN) -> bytes:
        """A size with two roots of no tree: the type needs none."""
        return pair_of(EvidenceType.SAME_SIZE, *self.heads(*keys, size=size, time=time, origin=origin))

    def heads(
        self,
        *keys: AnyKey,
        size: int = 60,
        time: int = TIME,
        origin: str = ORIGIN,
        extensions: tuple[bytes, ...] = (),
    ) -> tuple[SignedCheckpoint, SignedCheckpoint]:
        """Two heads of one size, in the order of their roots."""
        one, other = (
            self.head(TreeHead(size, root), *(keys or (LOG,)), time=time, origin=origin, extensions=extensions)
            for root in (LOW, HIGH)
        )
        return one, other

    def opened(self, small: int, large: int, index: int) -> tuple[SignedCheckpoint, SignedCheckpoint, Openings]:
        """One leaf of the fork and of the main tree, the heads in their order."""
        trees = {self.fork(small): FORK, self.main(large): MAIN}
        first, second = ascending(*trees)
        openings = [
            Opening(trees[head].rows[0][index], tuple(prove_inclusion(index, head.size, trees[head].read)))
            for head in (first, second)
        ]
        return first, second, Openings(0, index, *openings)


def ascending(one: SignedCheckpoint, other: SignedCheckpoint) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    """Order two heads by size and root."""
    return (one, other) if (one.size, one.root_hash) <= (other.size, other.root_hash) else (other, one)


def pair_of(type_: EvidenceType, first: SignedCheckpoint, second: SignedCheckpoint, proof: Proof = None) -> bytes:
    """A bundle, true or not."""
    return Evidence(type_, (first.note, second.note), proof).format()


def replaced(bundle: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    """Replace bytes that have to be there."""
    if old not in bundle:
        raise AssertionError("nothing to replace")
    return bundle.replace(old, new, count)


def opening_of(tree: Tree, index: int, size: int) -> Opening:
    """A leaf of a tree of that size, with its path."""
    return Opening(tree.rows[0][index], tuple(prove_inclusion(index, size, tree.read)))


def with_lines(head: SignedCheckpoint, *lines: SignatureLine, first: bool = False) -> SignedCheckpoint:
    """The same head with more lines under it, which nobody verified."""
    signatures = (*lines, *head.note.signatures) if first else (*head.note.signatures, *lines)
    return replace(head, note=replace(head.note, signatures=signatures))


def flipped(line: SignatureLine) -> SignatureLine:
    """The line with a bit flipped: it does not verify."""
    return replace(line, body=bytes([line.body[0] ^ 1]) + line.body[1:])


def sloppy(text: bytes) -> bytes:
    """Set a bit behind the last one that counts of base64 that ends with one "=": the same bytes to lax decoders."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + bytes([alphabet[alphabet.index(text[-2]) + 1]]) + b"="
