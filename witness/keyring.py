"""The witness's own keys, of which two of one algorithm overlap while one replaces the other.

A key that is being replaced carries the time of its retirement. It signs no statement of that time or later, whatever
the configuration says: the date was announced, and others count on it. The time compared is that of the statement, so
one statement is always signed by the same keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.errors import UsageError
from runtime.register import Persisted
from runtime.signers import Signer
from tlog.advance import Statement
from tlog.keys import KeyType, VerifierKey
from witness.store import RecordedKey


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours, and from when on it signs nothing."""

    signer: Signer
    retires: int | None = None

    @property
    def vkey(self) -> VerifierKey:
        return self.signer.vkey

    def signs(self, statement: Statement) -> bool:
        """Whether this key signs this statement."""
        if self.retires is not None and statement.time >= self.retires:
            return False
        # SPEC: CS-11 A 0x04 message has the extension lines; that of an ML-DSA-44 key has no place for them.
        return self.vkey.type != KeyType.COSIGNATURE_MLDSA44 or not statement.extensions


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that the configuration names, with what the database knows of them and of others."""

    keys: tuple[OwnKey, ...]
    recorded: Mapping[str, RecordedKey]
    """Every vkey that was ever used or announced."""

    @classmethod
    def of(cls, signers: Sequence[Signer], recorded: Mapping[str, RecordedKey]) -> "Keyring":
        """Put the keys of the configuration together with what is recorded of them.

        Raises:
            UsageError: keys were exchanged by hand.
        """
        configured = {signer.vkey.format(): signer for signer in signers}
        known = {vkey: recorded.get(vkey, _UNKNOWN).retires for vkey in configured}
        lasting = [configured[vkey].vkey.type for vkey, retires in known.items() if retires is None]
        if len(set(lasting)) != len(lasting):
            raise UsageError(
                "`keys` names two keys of one algorithm: take the new one out, and let `sameview witness rotate-key` "
                "make one that replaces the old one by a date"
            )
        for vkey, key in recorded.items():
            if key.used and key.retires is None and vkey not in configured:
                raise UsageError(
                    f"the key {vkey} signed before and is not in `keys`: put its file back, and let `sameview witness "
                    "rotate-key` replace it by a date, or `sameview witness retire` at once"
                )
        used = {vkey: RecordedKey(retires, used=True) for vkey, retires in known.items()}
        keys = tuple(OwnKey(signer, known[vkey]) for vkey, signer in configured.items())
        return cls(keys, {**recorded, **used})

    def signing(self, statement: Statement) -> list[Signer]:
        """The keys that sign this statement."""
        return [key.signer for key in self.keys if key.signs(statement)]

    async def sign(self, persisted: Persisted[Statement]) -> bytes:
        """One line of each key that signs this statement."""
        return b"".join([await signer.sign(persisted) for signer in self.signing(persisted.value)])

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The keys that our cosignatures verify with, old ones included."""
        return tuple(dict.fromkeys((*(key.vkey for key in self.keys), *map(VerifierKey.parse, self.recorded))))

    def problems(self, now: int) -> list[str]:
        """What an operator has to do about the keys."""
        missing = [
            f"the key {vkey} was announced and is not in `keys`: add its file and restart"
            for vkey, key in self.recorded.items()
            if not key.used
        ]
        if all(key.retires is not None and key.retires <= now for key in self.keys):
            missing.append("every key in `keys` has retired and nothing is signed: add the file of the new key")
        return missing


_UNKNOWN = RecordedKey(retires=None, used=False)
