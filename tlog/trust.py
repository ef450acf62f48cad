"""Whom a verifier trusts, and what a signed checkpoint is worth to them.

A verifier names keys of the log, a tlog-policy, or both. With both, the policy judges the witnesses and the keys name
the log; without keys the policy names the logs too. A key speaks for the origin that is its name or, where the
verifier names an origin, for that one: some logs' keys are not called like the log (``sum.golang.org``).

``Trust.open`` looks at every signature by a trusted key, and ``Judged.require`` is the way to the checkpoint.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from tlog.checkpoint import Checkpoint
from tlog.errors import SignatureError
from tlog.keys import KeyType, VerifierKey
from tlog.note import BadSignatureError, Note, NotSignedError, VerifiedSignature, open_note
from tlog.policy import Policy, Verdict, printable
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import MAX_INTEGER


def is_log_key(key: VerifierKey, origin: str) -> bool:
    """Tell the role of a key by its type and name: a log's, rather than a cosigner's.

    A log and a cosigner must not share a name, so a key of the type that both use is the log's if it bears the origin.
    """
    match key.type:
        case KeyType.ED25519 | KeyType.ECDSA | KeyType.RFC6962:
            return True
        case KeyType.COSIGNATURE_ED25519:
            return False
        case KeyType.COSIGNATURE_MLDSA44:
            return key.name == origin
        case _:
            assert_never(key.type)


def speaks_for(key: VerifierKey, origin: str, *, named: bool) -> bool:
    """Tell whether a trusted key may sign as the log of this origin, which the verifier has named or has not."""
    # Otherwise one log of two that are trusted could sign in the name of the other.
    return is_log_key(key, origin) and (named or key.name == origin)


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys, the one origin they speak for (None: each for its own name), and a policy."""

    keys: tuple[VerifierKey, ...] = ()
    origin: str | None = None
    policy: Policy | None = None

    def __post_init__(self) -> None:
        if not self.keys and self.policy is None:
            raise ValueError("a checkpoint is verified against keys, a policy or both")
        if not _are_unambiguous(self.all_keys()):
            raise ValueError("two different trusted keys have the same name and key ID")

    def all_keys(self) -> tuple[VerifierKey, ...]:
        """Every key that is trusted for something."""
        listed = () if self.policy is None else (*(log.key for log in self.policy.logs), *self.policy.witness_keys)
        return tuple(dict.fromkeys((*self.keys, *listed)))

    def open(self, raw: bytes | Note, since: int | None = None, until: int = MAX_INTEGER) -> "Judged":
        """Verify every signature by a trusted key and find out how far the checkpoint gets.

        With ``since`` (Unix seconds) only those signatures that state this time or a later one, up to ``until``, show
        that a checkpoint is recent, one has to, and only cosignatures that do so count for the policy.

        Raises:
            FormatError: the bytes are no signed checkpoint.
        """
        note = raw if isinstance(raw, Note) else Note.parse(raw)
        checkpoint = Checkpoint.parse(note.text)
        log_keys = self._log_keys(checkpoint.origin)
        witness_keys = () if self.policy is None else self.policy.witness_keys
        signatures, failures = _verify_each(note, dict.fromkeys((*log_keys, *self.keys, *witness_keys)))
        seen = SignedCheckpoint(checkpoint, note, signatures)
        verdict = None if self.policy is None else self.policy.cosigned(seen, since or 0, until)
        return Judged(self, seen, log_keys, failures, verdict, since, until)

    def _log_keys(self, origin: str) -> tuple[VerifierKey, ...]:
        if not self.keys and self.policy is not None:
            return self.policy.log_keys(origin)
        return tuple(key for key in self.keys if speaks_for(key, origin, named=self.origin is not None))


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a checkpoint. Nothing of it is to be believed before ``require`` returned."""

    trust: Trust
    seen: SignedCheckpoint
    """With the signatures by trusted keys that verify: any number of them, also none."""
    log_keys: tuple[VerifierKey, ...]
    """The keys that may sign as the log of this origin."""
    failures: tuple[BadSignatureError, ...]
    """One for each trusted key whose line does not verify."""
    verdict: Verdict | None
    since: int | None
    until: int = MAX_INTEGER

    def require(self) -> SignedCheckpoint:
        """Return the checkpoint if the log signed it and the policy, if there is one, is satisfied.

        Raises:
            SignatureError: it does not hold, and why.
        """
        return self._require(self._objection_to_signatures(self.log_keys) or self._objection_of_policy())

    def require_any(self) -> SignedCheckpoint:
        """Return the checkpoint if the log signed it or a trusted cosigner, such as a mirror that serves its tiles.

        Raises:
            SignatureError: none of them did, or a signature does not verify.
        """
        cosigners = (key for key in self.trust.all_keys() if not is_log_key(key, self.seen.origin))
        return self._require(self._objection_to_signatures((*self.log_keys, *cosigners)))

    def explain(self) -> tuple[str, ...]:
        """Say it in sentences: each key first, then the policy's witnesses, groups and quorum."""
        failures = (f"{_title('key', error.key)}: its line fails, {error}" for error in self.failures)
        verdict = () if self.verdict is None else self.verdict.explain()
        return (*failures, *self._explain_keys(), *verdict)

    def _require(self, objection: str | None) -> SignedCheckpoint:
        if objection is not None:
            raise SignatureError(objection)
        return self.seen

    def _objection_to_signatures(self, speakers: tuple[VerifierKey, ...]) -> str | None:
        # SPEC: P-8 Check that the checkpoint origin line is acceptable.
        if self.trust.origin not in (None, self.seen.origin):
            return "the checkpoint is of another origin"
        if not speakers:
            return (
                "no key is known for the origin of the checkpoint; "
                "a key that is not named like its log speaks for it where the origin is named too"
            )
        # SPEC: SN-8 The note SHOULD be rejected if a signature of a known key fails to verify.
        if self.failures:
            return f"the signature by {printable(self.failures[0].key.name)} does not verify"
        if not self.seen.signatures:
            return "no trusted key signed the checkpoint"
        # SPEC: P-8 The checkpoint is signed by a log public key configured for that origin line.
        if not any(self.seen.signed_by(key) for key in speakers):
            return "no log key signed the checkpoint, only others did"
        return None

    def _objection_of_policy(self) -> str | None:
        # SPEC: P-9 Verify all cosignatures for witnesses known to the verifier, then apply the quorum policy.
        times = [_time(one) for one in self.seen.signatures]
        future = "; one states a time that has not come yet" if any(time > self.until for time in times) else ""
        if self.verdict is not None and not self.verdict.met:
            recent = "" if self.since is None else " that are recent enough"
            return f"the cosignatures{recent} on the checkpoint do not reach the quorum of the policy{future}"
        # SPEC: P-11 Timestamps are ignored unless the application asks for recent ones.
        if self.since is not None and not any(self.since <= time <= self.until for time in times):
            return f"no signature on the checkpoint states a time that is recent enough{future}"
        return None

    def _explain_keys(self) -> Iterator[str]:
        failed = {error.key for error in self.failures}
        for key in dict.fromkeys((*self.log_keys, *self.trust.keys)):
            title = _title("log" if key in self.log_keys else "key", key)
            signature = self.seen.signed_by(key)
            if signature is not None:
                yield f"{title}: signed{_when(signature, self.since, self.until)}"
            elif key not in failed:
                yield f"{title}: no signature"


def _are_unambiguous(keys: Iterable[VerifierKey]) -> bool:
    # SPEC: SN-19 Two configured keys with the same name and ID are a mistake of the configuration.
    known: dict[tuple[str, bytes], VerifierKey] = {}
    return all(known.setdefault((key.name, key.id), key) == key for key in keys)


def _verify_each(
    note: Note, keys: Iterable[VerifierKey]
) -> tuple[tuple[VerifiedSignature, ...], tuple[BadSignatureError, ...]]:
    """Verify what each key signed, also after one whose line does not verify."""
    signatures: list[VerifiedSignature] = []
    failures: list[BadSignatureError] = []
    for key in keys:
        try:
            signatures += open_note(note, (key,))
        except NotSignedError:
            continue
        except BadSignatureError as error:
            failures.append(error)
    return tuple(sorted(signatures, key=lambda one: note.signatures.index(one.line))), tuple(failures)


def _title(role: str, key: VerifierKey) -> str:
    return f"{role} {printable(key.name)} ({key.type.name.lower().replace('_', ' ')})"


def _when(signature: VerifiedSignature, since: int | None, until: int) -> str:
    time = _time(signature)
    if not time:
        return "" if since is None else ", which states no time"
    if time > until:
        return f" at Unix time {time}, which has not come yet"
    age = "" if since is None or time >= since else f", {since - time} seconds too old"
    return f" at Unix time {time}{age}"


def _time(signature: VerifiedSignature) -> int:
    """The Unix time that a signature states, in seconds; 0 where it states none."""
    time = signature.timestamp or 0
    return time // 1000 if signature.key.type is KeyType.RFC6962 else time
