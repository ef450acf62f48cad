import random
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evidence_cases import (
    LOG,
    LOG_2,
    LOG_MLDSA,
    MAIN,
    MAKERS,
    OTHER_LOG,
    POLICY,
    W1,
    W1_MLDSA,
    W2,
    W3,
    note,
    part,
    policy,
    record,
)
from tests.forks import ORIGIN, CertificateLogKey, Tree, leaves, signed
from tests.keys import NOW, mldsa_key, witness_key
from tlog.errors import ProofError, TlogError
from tlog.evidence import (
    NO_CHECKPOINTS,
    Conviction,
    Evidence,
    EvidenceType,
    Opening,
    Openings,
    Prefix,
    cosigner_rollback,
    log_rollback,
    non_consistent,
    openings,
    quorum_split,
    same_size,
    verify_evidence,
)
from tlog.hashing import Hash, TreeHead, leaf_hash
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.proofs import prove_consistency, prove_inclusion, root_at
from tlog.rotation import Rotation
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.subtree import Subtree

CT = CertificateLogKey()
EVERYBODY = [key.verifier_key for key in (LOG, LOG_2, LOG_MLDSA, OTHER_LOG, W1, W2, W3, CT)]
STATEMENTS = sorted(NO_CHECKPOINTS)
HONEST = {key.verifier_key for key in (LOG, LOG_MLDSA, CT, W1, W2)}
LIAR = mldsa_key("witness.example/liar")
W1_DECIDES = policy(W1, k=1)


def random_hash(rng: random.Random) -> Hash:
    return Hash(rng.randbytes(32))


# Every fork is convicted.


def fork(rng: random.Random) -> tuple[Tree, Tree]:
    """A smaller and a larger tree that agree up to a random leaf; from there on, all of it or that leaf differs."""
    small, large = sorted((rng.randint(1, 300), rng.randint(1, 300)))
    parting = rng.randrange(small)
    main = [random_hash(rng) for _ in range(large)]
    other = main[:small]
    other[parting] = random_hash(rng)
    if rng.random() < 0.5:
        other[parting:] = [random_hash(rng) for _ in other[parting:]]
    return Tree(other), Tree(main)


def test_every_fork_is_convicted_from_the_larger_tree_alone() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        smaller, larger = fork(rng)
        first, second = (signed(tree.head(len(tree.rows[0])), LOG) for tree in (smaller, larger))
        evidence = same_size(first, second) if first.size == second.size else non_consistent(first, second, larger.read)
        verdict = verify_evidence(Evidence.parse(evidence.format()), [LOG.verifier_key])
        assert verdict.accused == LOG.verifier_key
        assert {statement[1] for statement in verdict.statements} == {first.root_hash, second.root_hash}


def test_every_fork_is_convicted_by_two_inclusion_proofs() -> None:
    # N3: at a leaf that differs, or at any complete subtree above it.
    rng = random.Random(10)
    for _ in range(500):
        smaller, larger = fork(rng)
        trees = (smaller, larger)
        sizes = [len(tree.rows[0]) for tree in trees]
        index = next(i for i in range(sizes[0]) if smaller.rows[0][i] != larger.rows[0][i])
        level = rng.choice([level for level in range(9) if (index >> level) + 1 << level <= sizes[0]])
        heads = [signed(tree.head(size), LOG) for tree, size in zip(trees, sizes, strict=True)]
        opened = [
            Opening(tree.rows[0][index], tuple(prove_inclusion(index, size, tree.read)))
            for tree, size in zip(trees, sizes, strict=True)
        ]
        evidence = openings(heads[0], opened[0], heads[1], opened[1], index, level)
        verdict = verify_evidence(Evidence.parse(evidence.format()), [LOG.verifier_key])
        assert (verdict.type, verdict.accused) == (EvidenceType.OPENINGS, LOG.verifier_key)


def test_a_smaller_tree_at_a_later_time_convicts_and_nothing_else_does() -> None:
    # N6: equal times, time 0 and growth say nothing.
    rng = random.Random(11)
    tree = Tree(leaves(40))
    for _ in range(1000):
        one, other = ((rng.randint(0, 40), rng.choice((0, 1, 2, 3))) for _ in range(2))
        first, second = (signed(tree.head(size), LOG_MLDSA, W1, time=time) for size, time in (one, other))
        (large, early), (small, late) = sorted((one, other), reverse=True)
        for make in (partial(log_rollback, first, second), partial(cosigner_rollback, first, second, W1.verifier_key)):
            if small < large and 0 < early < late:
                assert verify_evidence(make(), EVERYBODY).type in (
                    EvidenceType.LOG_ROLLBACK,
                    EvidenceType.COSIGNER_ROLLBACK,
                )
            else:
                with pytest.raises(TlogError):
                    make()


def test_if_the_latest_heads_agree_so_does_all_that_was_accepted() -> None:
    # N5: whoever checks consistency accepts prefixes of the latest head only.
    rng = random.Random(12)
    for _ in range(200):
        smaller, larger = fork(rng)
        latest = [len(tree.rows[0]) for tree in (smaller, larger)]
        accepted = [[rng.randint(1, size) for _ in range(3)] for size in latest]
        for m, n in ((m, n) for m in accepted[0] for n in accepted[1]):
            small, large = ((smaller, m), (larger, n)) if m <= n else ((larger, n), (smaller, m))
            agree = root_at(small[1], large[0].read) == root_at(small[1], small[0].read)
            # These two parted before the smaller latest head, so the latest heads alone convict whatever else agrees.
            assert root_at(latest[0], larger.read) != root_at(latest[0], smaller.read)
            prefix = all(smaller.rows[0][i] == larger.rows[0][i] for i in range(min(m, n)))
            assert agree == prefix


def test_an_honest_pair_makes_no_evidence_of_any_type() -> None:
    rng = random.Random(2)
    tree = Tree(leaves(300))
    for _ in range(200):
        small, large = sorted((rng.randint(1, 300), rng.randint(1, 300)))
        one = signed(tree.head(small), LOG, W1, CT, time=NOW)
        other = signed(tree.head(large), LOG, W1, CT, time=NOW + 1)
        for make in (
            partial(same_size, one, other),
            partial(non_consistent, one, other, tree.read),
            partial(log_rollback, one, other),
            partial(cosigner_rollback, one, other, W1.verifier_key),
            partial(quorum_split, one, other, W1_DECIDES, tree.read),
        ):
            with pytest.raises(TlogError):
                make()


# Nobody is framed.


class Framer:
    """Somebody who holds every honest head, keys of his own that the verifier trusts too, and a lot of patience.

    The log, its keys for Certificate Transparency and ML-DSA-44, and two of three witnesses are honest: they sign one
    history, at times that rise. Another trusted log and the third witness sign whatever helps.
    """

    SIZE = 220

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tree = Tree(leaves(self.SIZE))
        self.lies = Tree(leaves(self.SIZE, "lie", common=100))
        often, seldom = (LOG, W1, W2), (LOG, LOG_MLDSA, CT, W1, W2)  # verifying the others takes longer
        sizes = sorted(rng.sample(range(self.SIZE + 1), 25))
        self.honest = [
            signed(self.tree.head(size), *(seldom if i % 4 == 0 else often), time=NOW + 10 * i + again)
            for i, size in enumerate(sizes)
            for again in (0, 0, 5)
        ]
        self.lines = [(signature.key, signature.line) for head in self.honest for signature in head.signatures]
        self.lying = [
            signed(
                tree.head(rng.choice((110, 128, 200))), OTHER_LOG, W3, time=NOW + rng.randint(-99, 99), origin=origin
            )
            for tree in (self.tree, self.lies)
            for origin in (ORIGIN, OTHER_LOG.name)
            for _ in range(4)
        ]

    def evidence(self) -> Evidence:
        type_ = self.rng.choice([type_ for type_ in EvidenceType if type_ not in STATEMENTS])
        heads = self.honest if self.rng.random() < 0.6 else self.honest[::5] + self.lying
        first, second = self.rng.choice(heads), self.rng.choice(heads)
        if self.rng.random() < 0.8 and (first.size, first.root_hash) > (second.size, second.root_hash):
            first, second = second, first
        sides = [first] if type_ is EvidenceType.BAD_EMPTY_HEAD else [first, second]
        proof = self.proof(type_, first.head, second.head)
        return Evidence(type_, tuple(self.note(side) for side in sides), proof)

    def note(self, head: SignedCheckpoint) -> Note:
        """The head as it was signed, with some lines left out, or with lines from elsewhere put in."""
        lines = list(head.note.signatures)
        match self.rng.randrange(10):
            case 0:
                lines.append(self.rng.choice(self.lines)[1])
            case 1:
                lines = [self.rng.choice(self.lines)[1]]
            case 2:
                lines = [*self.rng.choice(self.lying).note.signatures, *lines]
            case 3:
                lines = self.rng.sample(lines, self.rng.randint(1, len(lines)))
            case 4 | 5:
                pass
            case _:
                lines = [self.rng.choice(lines)]
        return Note(head.note.text, tuple(lines))

    def proof(self, type_: EvidenceType, first: TreeHead, second: TreeHead) -> Prefix | Openings | None:
        match type_:
            case EvidenceType.OPENINGS:
                return self.openings(first, second)
            case EvidenceType.NON_CONSISTENT | EvidenceType.COSIGNER_NON_CONSISTENT:
                return self.prefix(first.size, second.size)
            case EvidenceType.QUORUM_SPLIT if self.rng.random() < 0.7:
                return self.prefix(first.size, second.size)
            case _:
                return None

    def prefix(self, small: int, large: int) -> Prefix:
        """A proof that holds, with another root or with changed hashes."""
        read = self.rng.choice((self.tree, self.tree, self.lies)).read
        old, new = (small, large) if small <= large and self.rng.random() < 0.8 else self.sizes()
        path = self.mutated(prove_consistency(old, new, read))
        root = self.rng.choice((random_hash(self.rng), root_at(old, self.lies.read), root_at(old, read)))
        return Prefix(root, tuple(path))

    def openings(self, first: TreeHead, second: TreeHead) -> Openings:
        level = self.rng.randint(0, 3)
        index = self.rng.randrange(self.SIZE) >> level
        return Openings(level, index, *(self.opening(head.size, level, index) for head in (first, second)))

    def opening(self, size: int, level: int, index: int) -> Opening:
        tree = self.rng.choice((self.tree, self.tree, self.lies))
        leaf = index << level
        path = prove_inclusion(leaf, size, tree.read)[level:] if leaf < size else []
        node = self.rng.choice((*tree.rows[level][index : index + 1], random_hash(self.rng)))
        return Opening(node, tuple(self.mutated(path)))

    def sizes(self) -> tuple[int, int]:
        old, new = sorted((self.rng.randint(0, self.SIZE), self.rng.randint(0, self.SIZE)))
        return old, new

    def mutated(self, path: Sequence[Hash]) -> list[Hash]:
        hashes = list(path)
        match self.rng.randrange(5):
            case 0:
                hashes.insert(self.rng.randint(0, len(hashes)), random_hash(self.rng))
            case 1 if hashes:
                hashes.pop(self.rng.randrange(len(hashes)))
            case 2 if hashes:
                hashes[self.rng.randrange(len(hashes))] = self.tree.rows[0][self.rng.randrange(self.SIZE)]
            case 3:
                self.rng.shuffle(hashes)
        return hashes


def test_nobody_who_is_honest_is_ever_framed() -> None:
    framer = Framer(random.Random(3))
    convicted = set()
    judged_by_proof = 0
    for _ in range(20_000):
        try:
            verdict = verify_evidence(framer.evidence(), EVERYBODY, POLICY)
        except TlogError as error:
            judged_by_proof += isinstance(error, ProofError)
            continue
        assert verdict.accused not in HONEST
        convicted.add((verdict.type, verdict.accused))
    # The attempts come close: many fail by their hashes alone, and the liars are convicted in passing.
    assert judged_by_proof > 5_000
    assert {key for _, key in convicted} == {OTHER_LOG.verifier_key, W3.verifier_key}


def told(rng: random.Random, count: int) -> Iterator[bytes]:
    """Bundles of what is no checkpoint: of any two statements, by any of those who sign such, in either order."""
    logs, news, trees = (ORIGIN, "log.example/two"), ("a", "a\u2028b", "x" * 300), (MAIN.head(9), MAIN.head(60))
    parts = [Subtree(log, start, 16, leaf_hash(entry)) for log in logs for start in (0, 3) for entry in (b"a", b"b")]
    records = [Rotation(log, number, new, tree) for log in logs for number in (1, 2) for new in news for tree in trees]
    of_parts = [note(one.format(), *rng.sample((W1, W1_MLDSA, LIAR, LOG_MLDSA), 2)) for one in parts for _ in range(4)]
    of_records = [note(one.format(), *rng.sample((LOG, LOG_2, OTHER_LOG, W1), 2)) for one in records for _ in range(2)]
    for _ in range(count):
        type_, notes = rng.choice([(EvidenceType.SUBTREE, of_parts), (EvidenceType.ROTATION, of_records)])
        first, second = rng.sample(notes, 2)
        if rng.random() < 0.8 and first.text > second.text:
            first, second = second, first
        yield Evidence(type_, (first, second)).format()


def test_nobody_who_says_one_thing_of_each_part_and_each_number_is_framed() -> None:
    rng = random.Random(4)
    places = ((0, 8), (0, 16), (16, 24), (16, 32))
    honest = [note(part(b"%d %d" % place, *place), W1_MLDSA) for place in places]
    honest += [note(record(f"key {number}", number), LOG) for number in range(1, 5)]
    lying = [note(part(entry, 0, 8), LIAR) for entry in (b"a", b"b")]
    lying += [note(record(new), LOG_2) for new in ("a", "b")]
    keys = [*EVERYBODY, W1_MLDSA.verifier_key, LIAR.verifier_key]
    convicted = set()
    for _ in range(4_000):
        first, second = rng.choice([*honest, *lying]), rng.choice([*honest, *lying])
        mixed = Note(first.text, (*first.signatures, *rng.choice(honest).signatures)) if rng.random() < 0.2 else first
        try:
            convicted.add(verify_evidence(Evidence(rng.choice(STATEMENTS), (mixed, second)), keys).accused)
        except TlogError:
            continue
    assert convicted == {LIAR.verifier_key, LOG_2.verifier_key}


# Every bit is bound.


def flips(raw: bytes, step: int = 1) -> Iterator[bytes]:
    for bit in range(0, 8 * len(raw), step):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def judged(raw: bytes) -> Conviction | None:
    try:
        return verify_evidence(Evidence.parse(raw), [*EVERYBODY, W1_MLDSA.verifier_key], POLICY)
    except TlogError:
        return None


OF_ED25519 = [type_ for type_ in EvidenceType if type_ is not EvidenceType.SUBTREE]


@pytest.mark.parametrize("type_", OF_ED25519, ids=lambda type_: type_.value)
def test_no_bit_of_a_bundle_can_change(type_: EvidenceType) -> None:
    raw = MAKERS[type_]().format()
    assert judged(raw) is not None
    assert [flipped for flipped in flips(raw) if judged(flipped) is not None] == []


def mldsa_bundles() -> list[bytes]:
    tree, other = Tree(leaves(60)), Tree(leaves(60, "other"))
    rollback = log_rollback(signed(tree.head(60), LOG_MLDSA), signed(tree.head(50), LOG_MLDSA, time=NOW + 1))
    forked = same_size(signed(tree.head(60), LOG_MLDSA), signed(other.head(60), LOG_MLDSA))
    return [evidence.format() for evidence in (rollback, forked, MAKERS[EvidenceType.SUBTREE]())]


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.slow)])
def test_no_bit_under_an_mldsa_signature_can_change(step: int) -> None:
    for raw in mldsa_bundles():
        assert judged(raw) is not None
        assert [flipped for flipped in flips(raw, step) if judged(flipped) is not None] == []


# The bundle.

extension_lines = st.lists(
    st.sampled_from([b"--", b"-- ", b"\xe2\x80\x94 x AAAAAA==", b"type same-size", b"hash", b"0"]), max_size=4
).map(tuple)


@given(extension_lines, extension_lines)
@settings(deadline=None)
def test_notes_come_apart_whatever_their_extension_lines_are(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> None:
    trees = (Tree(leaves(9)), Tree(leaves(9, "other")))
    first = signed(trees[0].head(9), LOG, extensions=one)
    second = signed(trees[1].head(9), LOG, extensions=other)
    evidence = same_size(first, second)
    assert Evidence.parse(evidence.format()) == evidence


@given(st.sampled_from(list(EvidenceType)), st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
@settings(deadline=None, max_examples=500)
def test_what_is_accepted_is_written_back_byte_for_byte(type_: EvidenceType, at: int, put: bytes, cut: int) -> None:
    raw = MAKERS[type_]().format()
    at %= len(raw)
    changed = raw[:at] + put + raw[at + cut :]
    try:
        evidence = Evidence.parse(changed)
    except TlogError:
        return
    assert evidence.format() == changed


# Quorum splits.


def random_policy(rng: random.Random) -> tuple[Policy, list[SignerKey]]:
    """A tree of groups over three to six witnesses."""
    keys = [witness_key(f"witness.example/q{i}") for i in range(rng.randint(3, 6))]
    lines = [f"log {LOG.verifier_key}", *(f"witness w{i} {key.verifier_key}" for i, key in enumerate(keys))]
    names = [f"w{i}" for i in range(len(keys))]
    for number in range(rng.randint(1, 3)):
        rng.shuffle(names)
        members, names = names[: rng.randint(1, len(names))], names
        names = [*names[len(members) :], f"g{number}"]
        lines.append(f"group g{number} {rng.randint(1, len(members))} {' '.join(members)}")
    lines += [f"group top {rng.randint(1, len(names))} {' '.join(names)}", "quorum top", ""]
    return Policy.parse("\n".join(lines).encode()), keys


def random_quorum(rule: Policy, keys: list[SignerKey], rng: random.Random) -> list[SignerKey]:
    """Witnesses that satisfy the policy and of whom none can be left out."""
    quorum = dict(enumerate(keys))
    for i in rng.sample(range(len(keys)), len(keys)):
        fewer = {j: key for j, key in quorum.items() if j != i}
        if rule.satisfied_by([f"w{j}" for j in fewer]):
            quorum = fewer
    return list(quorum.values())


def test_a_quorum_split_names_at_least_as_many_parties_as_any_two_quorums_share() -> None:
    rng = random.Random(4)
    one, other = Tree(leaves(30)).head(30), Tree(leaves(30, "other")).head(30)
    exactly = 0
    for _ in range(200):
        rule, keys = random_policy(rng)
        sides = [random_quorum(rule, keys, rng) for _ in range(2)]
        evidence = quorum_split(signed(one, LOG, *sides[0]), signed(other, LOG, *sides[1]), rule)
        verdict = verify_evidence(evidence, [], rule)
        assert verdict.cosigners == tuple(sorted({key.name for key in sides[0]} & {key.name for key in sides[1]}))
        assert len(verdict.cosigners) >= rule.inter()
        exactly += len(verdict.cosigners) == rule.inter()
    assert exactly > 20
