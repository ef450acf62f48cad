"""A log that a witness follows, honest or not, and requests about it."""

from hashlib import sha256

from tests.forks import Tree, leaves
from tests.keys import log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.hashing import Hash
from tlog.keys import SignerKey
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

ORIGIN = "log.example/one"
NAME = "witness.example/one"
LOG = log_key(ORIGIN)
LOGS = {ORIGIN: [LOG.verifier_key]}
KEYS = [witness_key(NAME), mldsa_key(NAME)]
VERIFIERS = [key.verifier_key for key in KEYS]
PUBLIC = f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"

HONEST = Tree(leaves(256))
FORK = Tree(leaves(256, "fork", common=3))


def submission(
    old: int,
    new: int,
    tree: Tree = HONEST,
    *,
    path: tuple[Hash, ...] | None = None,
    root_hash: Hash | None = None,
    origin: str = ORIGIN,
    key: SignerKey = LOG,
) -> bytes:
    """A request to cosign a size of a tree, with its own proof and root unless others are given."""
    proof = tuple(prove_consistency(old, new, tree.read)) if path is None else path
    checkpoint = Checkpoint(origin, new, root_hash or tree.head(new).root_hash)
    return AddCheckpoint(old, proof, sign_checkpoint(checkpoint, key)).format()


def signed(size: int, tree: Tree = HONEST) -> SignedCheckpoint:
    """A checkpoint by the log."""
    raw = sign_checkpoint(Checkpoint(ORIGIN, size, tree.head(size).root_hash), LOG)
    return open_checkpoint(raw, [LOG.verifier_key])
