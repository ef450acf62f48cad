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
    announced: Mapping[str, int | None]
    """Every vkey that was ever used or announced, and when it retires."""

    @classmethod
    def of(cls, signers: Sequence[Signer], announced: Mapping[str, int | None]) -> "Keyring":
        """Put the keys of the configuration together with what is recorded of them.

        Raises:
            UsageError: two keys of one algorithm, and no rotation that says which of them retires when.
        """
        keys = tuple(OwnKey(signer, announced.get(signer.vkey.format())) for signer in signers)
        lasting = [key.vkey.type for key in keys if key.retires is None]
        if len(set(lasting)) != len(lasting):
            raise UsageError(
                "`keys` names two keys of one algorithm: take the new one out, and let `sameview witness rotate-key` "
                "make one that replaces the old one by a date"
            )
        return cls(keys, announced)

    def signing(self, statement: Statement) -> list[Signer]:
        """The keys that sign this statement."""
        return [key.signer for key in self.keys if key.signs(statement)]

    async def sign(self, persisted: Persisted[Statement]) -> bytes:
        """One line of each key that signs this statement."""
        return b"".join([await signer.sign(persisted) for signer in self.signing(persisted.value)])

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The keys that our cosignatures verify with, old ones included."""
        return tuple(dict.fromkeys((*(key.vkey for key in self.keys), *map(VerifierKey.parse, self.announced))))

    def problems(self, now: int) -> list[str]:
        """What an operator has to do about the keys."""
        ours = {key.vkey.format() for key in self.keys}
        missing = [
            f"the key {vkey} was announced and is not in `keys`: add its file and restart"
            for vkey, retires in self.announced.items()
            if vkey not in ours and (retires is None or retires > now)
        ]
        if all(key.retires is not None and key.retires <= now for key in self.keys):
            missing.append("every key in `keys` has retired and nothing is signed: add the file of the new key")
        return missing
