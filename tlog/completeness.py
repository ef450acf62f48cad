"""Up to when nobody can have been shown anything else: the completeness watermark, and the certificate that proves it.

Whoever follows a policy accepts no checkpoint without a quorum of witnesses. If an honest witness of every quorum has
stated, at a time T or later, a tree that is the beginning of the tree that I know, then every checkpoint that such a
client accepts with cosignatures of before T is the beginning of my tree too: that witness cosigned it, at an earlier
time than it stated the tree I have. How many witnesses have to be heard so that one in every quorum is honest, though
any ``liars`` of them lie, is ``Policy.margin``. The largest such T is the watermark. specs/completeness.md has the
claim in full, its assumptions and its proof.

    tlog-completeness@v1
    time <decimal>                  T, Unix seconds
    liars <decimal>                 how many lying parties the claim survives
    policy <base64 SHA-256>         of the canonical policy that it was made under; the verifier's own decides
                                    an empty line
    <checkpoint with signatures>    the frontier: the tree that everything is the beginning of
    --                              and then for each smaller tree that witnesses stated
    witnessed
    hash <base64 hash>...           the consistency proof from that tree to the frontier
                                    an empty line
    <checkpoint with signatures>

``parse`` reads the grammar and believes nothing. Files are named ``*.tlog-completeness``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.policy import Policy, WitnessVerdict
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint, take_checkpoint
from tlog.text import MAX_INTEGER, cut, encode_base64, parse_decimal, parse_hash
from tlog.tied import MAX_HASHES, format_tied, take_tied

MAX_TREES = 128  # smaller than the frontier; as many as witnesses, of which a policy need not have more than 32
MAX_COMPLETENESS_BYTES = 4 * 1024 * 1024  # 128 trees with a dozen ML-DSA-44 signatures each nearly fill it

FIRST_LINE = b"tlog-completeness@v1"

_TREE = b"witnessed"


def watermark(policy: Policy, times: Mapping[str, int], liars: int) -> int | None:
    """Return the largest time such that the witness lines heard then or later survive so many liars.

    ``times`` tells of each witness line when it last stated a tree that is the beginning of ours; None if there is no
    such time.
    """
    heard: set[str] = set()
    for time in sorted(set(times.values()), reverse=True):
        heard.update(name for name, stated in times.items() if stated == time)
        if policy.margin(heard) >= liars:
            return time
    return None


def policy_hash(policy: Policy) -> Hash:
    """Name a policy: the SHA-256 of its canonical text."""
    return Hash(sha256(policy.format()).digest())


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A tree that witnesses stated, and the proof that the frontier grew out of it."""

    note: Note
    path: tuple[Hash, ...] = ()


@dataclass(frozen=True, slots=True)
class Completeness:
    """A completeness certificate. Only ``judge`` tells what it is worth."""

    time: int
    liars: int
    policy_hash: Hash
    frontier: Note
    trees: tuple[Witnessed, ...] = ()

    def __post_init__(self) -> None:
        if len(self.trees) > MAX_TREES or any(len(tree.path) > MAX_HASHES for tree in self.trees):
            raise ValueError("too many trees, or too many hashes for one")
        if not 0 <= self.time <= MAX_INTEGER or not 0 <= self.liars <= MAX_INTEGER:
            raise ValueError("a time or a number of liars that cannot be written")

    @classmethod
    def parse(cls, data: bytes) -> "Completeness":
        """Read a certificate. Its notes are well-formed checkpoints then, and nothing about them has been verified."""
        if len(data) > MAX_COMPLETENESS_BYTES:
            raise FormatError("a completeness certificate is too large")
        header, rest = cut(data, b"\n\n", "a completeness certificate has no empty line after its header")
        time, liars, policy = _parse_header(header)
        frontier, more = take_checkpoint(rest, "a completeness certificate")
        trees: list[Witnessed] = []
        while more is not None:
            if len(trees) == MAX_TREES:
                raise FormatError(f"a completeness certificate has more than {MAX_TREES} smaller trees")
            note, path, more = take_tied(more, _TREE, "a tree in a completeness certificate")
            trees.append(Witnessed(note, path))
        return cls(time, liars, policy, frontier, tuple(trees))

    def format(self) -> bytes:
        """Write the certificate."""
        policy = encode_base64(self.policy_hash)
        header = (FIRST_LINE, b"time %d" % self.time, b"liars %d" % self.liars, b"policy " + policy)
        first = b"\n".join(header) + b"\n\n" + self.frontier.format()
        return b"--\n".join([first, *(format_tied(_TREE, tree.note, tree.path) for tree in self.trees)])


@dataclass(frozen=True, slots=True)
class JudgedTree:
    """What became of one tree: the witnesses that stated it, or why it counts for nothing."""

    size: int
    witnesses: tuple[WitnessVerdict, ...]
    objection: str | None = None

    def explain(self) -> Iterator[str]:
        """Say it in sentences."""
        where = f"tree of {self.size}"
        if self.objection is not None:
            yield f"{where}: not counted, {self.objection}"
        for witness in self.witnesses:
            yield f"{where}: {witness.explain()}"


@dataclass(frozen=True, slots=True)
class JudgedCompleteness:
    """What is known of a certificate. Nothing of it is to be believed before ``require`` returned."""

    certificate: Completeness
    policy: Policy
    liars: int
    """How many the verifier wants it to survive."""
    frontier: SignedCheckpoint | None
    """None unless the log signed it."""
    objection: str | None
    """Why the frontier is none."""
    trees: tuple[JudgedTree, ...]
    """The frontier first."""

    @property
    def heard(self) -> tuple[str, ...]:
        """The witness lines that stated one of the trees at the certificate's time or later, sorted."""
        return tuple(sorted({one.witness.name for tree in self.trees for one in tree.witnesses if one.counts}))

    @property
    def margin(self) -> int:
        """How many lying parties the claim survives under the verifier's policy; below 0 it claims nothing."""
        return self.policy.margin(self.heard)

    def require(self) -> SignedCheckpoint:
        """Return the frontier if every checkpoint accepted with cosignatures of before the time is its beginning.

        Raises:
            SignatureError: the log did not sign the frontier, or too few witnesses were heard.
        """
        if self.frontier is None:
            raise SignatureError(self.objection or "no log key signed the frontier")
        if self.policy.quorum is None:
            raise SignatureError("the policy asks for no witnesses, so nobody's silence proves anything")
        if self.margin < self.liars:
            raise SignatureError(
                f"too few witnesses were heard: it survives {_count(self.margin)}, not {_count(self.liars)}"
            )
        return self.frontier

    def explain(self) -> tuple[str, ...]:
        """Say it in sentences: each tree, the policy, then the margin."""
        trees = (sentence for tree in self.trees for sentence in tree.explain())
        same = policy_hash(self.policy) == self.certificate.policy_hash
        return (
            *trees,
            "made under the same policy" if same else "made under another policy: this one decides",
            f"every quorum has at least {max(self.margin, -1) + 1} of those who were heard",
        )


def judge(
    certificate: Completeness,
    policy: Policy,
    log_keys: Sequence[VerifierKey] | None = None,
    liars: int | None = None,
) -> JudgedCompleteness:
    """Judge a certificate under a policy, by default for as many liars as it says that it survives.

    ``log_keys`` may sign as the log of whatever origin the frontier is of; by default those that the policy names.
    """
    wanted = certificate.liars if liars is None else liars
    origin = Checkpoint.parse(certificate.frontier.text).origin
    keys = policy.log_keys(origin) if log_keys is None else tuple(log_keys)
    try:
        frontier = _open_frontier(certificate.frontier, keys, policy)
    except SignatureError as error:
        return JudgedCompleteness(certificate, policy, wanted, None, str(error), ())
    trees = (_judge_tree(tree, frontier, policy, certificate.time) for tree in certificate.trees)
    first = JudgedTree(frontier.size, _heard(frontier, policy, certificate.time))
    return JudgedCompleteness(certificate, policy, wanted, frontier, None, (first, *trees))


def certify(
    policy: Policy,
    time: int,
    liars: int,
    frontier: SignedCheckpoint,
    statements: Iterable[SignedCheckpoint],
    prove: Callable[[int, int], Sequence[Hash]],
) -> Completeness:
    """Make the certificate of statements whose trees are beginnings of the frontier's, which has the log's line.

    ``prove`` makes a consistency proof between two sizes of the frontier's tree. Statements of one checkpoint share a
    note. Raises ValueError where there are more trees than a certificate holds.
    """
    trees: dict[bytes, SignedCheckpoint] = {}
    for one in sorted(statements, key=lambda statement: statement.size):
        if one.note.text == frontier.note.text:
            frontier = frontier.merge(one)
        else:
            text = one.note.text
            trees[text] = trees[text].merge(one) if text in trees else one
    parts = (Witnessed(one.note, _path(one.size, frontier.size, prove)) for one in trees.values())
    return Completeness(time, liars, policy_hash(policy), frontier.note, tuple(parts))


def _path(old: int, new: int, prove: Callable[[int, int], Sequence[Hash]]) -> tuple[Hash, ...]:
    return tuple(prove(old, new)) if 0 < old < new else ()


def _open_frontier(note: Note, log_keys: Sequence[VerifierKey], policy: Policy) -> SignedCheckpoint:
    if not log_keys:
        raise SignatureError("no key is known for the log: name it in the policy, or by --vkey")
    try:
        frontier = open_checkpoint(note, dict.fromkeys((*log_keys, *policy.witness_keys)))
    except SignatureError:
        raise SignatureError("no trusted key signed the frontier, or a line of one does not verify") from None
    if not any(frontier.signed_by(key) for key in log_keys):
        raise SignatureError("the log did not sign the frontier")
    return frontier


def _judge_tree(tree: Witnessed, frontier: SignedCheckpoint, policy: Policy, time: int) -> JudgedTree:
    checkpoint = Checkpoint.parse(tree.note.text)
    if checkpoint.origin != frontier.origin:
        return JudgedTree(checkpoint.size, (), "it is of another log")
    try:
        # SPEC: SN-8 The note SHOULD be rejected if a signature of a known key fails to verify.
        opened = open_checkpoint(tree.note, policy.witness_keys)
    except SignatureError:
        return JudgedTree(checkpoint.size, (), "no witness of the policy cosigned it, or a line of one does not verify")
    try:
        verify_consistency(checkpoint.head, frontier.head, tree.path)
    except ProofError as error:
        return JudgedTree(checkpoint.size, (), f"it is not shown that the frontier grew out of it: {error}")
    return JudgedTree(checkpoint.size, _heard(opened, policy, time))


def _heard(opened: SignedCheckpoint, policy: Policy, time: int) -> tuple[WitnessVerdict, ...]:
    """Whoever cosigned a tree; those who did at the time or later count, since equal seconds are late enough."""
    return tuple(one for one in policy.cosigned(opened, time).witnesses if one.time is not None)


def _count(liars: int) -> str:
    return "not even honest witnesses" if liars < 0 else f"{liars} {'liar' if liars == 1 else 'liars'}"


def _parse_header(header: bytes) -> tuple[int, int, Hash]:
    match header.split(b"\n"):
        case [first, time, liars, policy] if first == FIRST_LINE:
            return (
                parse_decimal(_field(b"time", time), "the time of a completeness certificate"),
                parse_decimal(_field(b"liars", liars), "the number of liars"),
                parse_hash(_field(b"policy", policy), "the hash of the policy"),
            )
        case _:
            raise FormatError("a completeness certificate does not begin with its four lines")


def _field(name: bytes, line: bytes) -> bytes:
    if not line.startswith(name + b" "):
        raise FormatError(f"a completeness certificate has another line where {name.decode()} stands")
    return line.removeprefix(name + b" ")
