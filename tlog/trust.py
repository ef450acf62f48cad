"""Whom a verifier trusts, and what a signed checkpoint is worth to them.

A verifier names keys of the log, a tlog-policy, or both. With both, the policy judges the witnesses and the keys name
the log; without keys the policy names the logs too. A key speaks for the origin that is its name or, where the
verifier names an origin, for that one: some logs' keys are not called like the log (``sum.golang.org``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import SignatureError
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note
from tlog.policy import Policy, Verdict
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

_NEVER_A_LOG = frozenset({KeyType.COSIGNATURE_ED25519})


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys, the one origin they speak for (None: each for its own name), and a policy."""

    keys: tuple[VerifierKey, ...] = ()
    origin: str | None = None
    policy: Policy | None = None

    def __post_init__(self) -> None:
        if not self.keys and self.policy is None:
            raise ValueError("a checkpoint is verified against keys, a policy or both")

    def open(self, raw: bytes | Note) -> "Judged":
        """Verify every signature by a trusted key and find out how far the checkpoint gets.

        Raises:
            FormatError: the bytes are no signed checkpoint.
            SignatureError: no trusted key signed it, or a line of one does not verify.
        """
        note = raw if isinstance(raw, Note) else Note.parse(raw)
        origin = Checkpoint.parse(note.text).origin
        # SPEC: P-8 Check that the checkpoint origin line is acceptable.
        if self.origin is not None and origin != self.origin:
            raise SignatureError("the checkpoint is of another origin")
        log_keys = self._log_keys(origin)
        if not log_keys:
            raise SignatureError("no key is known for the origin of the checkpoint")
        opened = open_checkpoint(note, dict.fromkeys([*log_keys, *self.keys, *self._witness_keys()]))
        verdict = None if self.policy is None else self.policy.cosigned(opened)
        return Judged(opened, tuple(key for key in log_keys if opened.signed_by(key)), verdict)

    def _log_keys(self, origin: str) -> tuple[VerifierKey, ...]:
        if self.keys or self.policy is None:
            candidates: Iterable[VerifierKey] = (
                key for key in self.keys if self.origin is not None or key.name == origin
            )
        else:
            candidates = self.policy.log_keys(origin)
        return tuple(key for key in candidates if key.type not in _NEVER_A_LOG)

    def _witness_keys(self) -> tuple[VerifierKey, ...]:
        return () if self.policy is None else self.policy.witness_keys


@dataclass(frozen=True, slots=True)
class Judged:
    """A checkpoint with its verified signatures: which keys signed as the log, and what the policy says."""

    opened: SignedCheckpoint
    log_keys: tuple[VerifierKey, ...]
    verdict: Verdict | None

    def require(self) -> SignedCheckpoint:
        """Return the checkpoint if the log signed it and the policy, if there is one, is satisfied."""
        # SPEC: P-8 The checkpoint is signed by a log public key configured for that origin line.
        if not self.log_keys:
            raise SignatureError("no log key signed the checkpoint, only others did")
        # SPEC: P-9 Verify all cosignatures for witnesses known to the verifier, then apply the quorum policy.
        if self.verdict is not None and not self.verdict.met:
            raise SignatureError("the cosignatures on the checkpoint do not reach the quorum of the policy")
        return self.opened

    def explain(self) -> tuple[str, ...]:
        """Say it in sentences: the log's keys first, then the policy's witnesses, groups and quorum."""
        logs = tuple(f"log {key.name}: signed ({key.type.name.lower()})" for key in self.log_keys)
        return (logs or ("log: not signed by its key",)) + (() if self.verdict is None else self.verdict.explain())
