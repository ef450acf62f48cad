"""Changing the witness's keys: one by a date, while all is well, or all at once, because memory may be lost.

``rotate`` records in the database that a new key replaces an old one by a date. Both sign until then. The record, not
the configuration, decides when the old one stops, so that a forgotten edit does not keep it alive.

``retire`` is for a witness whose register or database is lost, restored or copied: nobody knows what the old keys
signed last, so they must not sign again. New keys take their place, the old ones say so in retirement records, and
their files are put aside, so that nothing signs with them by mistake.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from runtime.clock import Clock
from runtime.database import open_database
from runtime.datadir import DataDirectory
from runtime.errors import UsageError
from runtime.files import create_file, sync_directory
from runtime.keyfiles import new_signer_key, write_signer_key
from tlog.keys import KeyType, SignerKey
from tlog.retirement import Retirement, SignedRetirement
from witness.config import WitnessSettings
from witness.store import DATABASE_NAME, METADATA, RecordedKey, read_own_keys, write_own_keys

RETIRED_SUFFIX = ".retired"


@dataclass(frozen=True, slots=True)
class Rotation:
    """One key that replaces another one by a date."""

    old: SignerKey
    new: SignerKey


def rotate(settings: WitnessSettings, type: KeyType, out: Path, retires: int, clock: Clock) -> Rotation:
    """Make a key that replaces the one of this algorithm, which signs nothing from ``retires`` on.

    Raises:
        UsageError: there is no such key, it is being replaced already, or the date has passed.
    """
    if retires <= clock.now():
        raise UsageError("the date has passed: give those who trust the old key time to learn of the new one")
    return trio.run(_rotate, settings, type, out, retires, clock)


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of one old key."""

    old: SignerKey
    new: SignerKey
    key_file: Path
    record: Path


def retire(settings: WitnessSettings, directory: Path, clock: Clock) -> list[Retired]:
    """Replace every key at once, and put the old ones and their records into ``directory``, which is made.

    Raises:
        UsageError: the witness is running, or the directory is not empty.
    """
    with ExitStack() as stack:
        if settings.data.is_dir():
            stack.enter_context(DataDirectory(settings.data).lock())  # a running witness would go on signing
        target = DataDirectory.create(directory).path
        new = [new_signer_key(key.name, key.type) for key in settings.keys]
        retired = [
            Retired(old, key, target / file.name, target / f"{file.name}.retirement")
            for old, key, file in zip(settings.keys, new, settings.key_files, strict=True)
        ]
        for one in retired:
            write_signer_key(one.key_file, one.new)
            create_file(one.record, _signed(one.old, new, clock.now()).format(), mode=0o644)
        for file in settings.key_files:
            file.rename(file.with_name(file.name + RETIRED_SUFFIX))
            sync_directory(file.parent)
    return retired


def _signed(old: SignerKey, new: Sequence[SignerKey], time: int) -> SignedRetirement:
    retirement = Retirement(old.verifier_key, tuple(key.verifier_key for key in new), time)
    signed = SignedRetirement(retirement, old.sign(retirement.message))
    signed.verify()
    return signed


async def _rotate(settings: WitnessSettings, type: KeyType, out: Path, retires: int, clock: Clock) -> Rotation:
    DataDirectory.open(settings.data, init="sameview witness init")
    async with open_database(settings.data / DATABASE_NAME, METADATA) as database:
        recorded = await read_own_keys(database)
        dated = {vkey for vkey, key in recorded.items() if key.retires is not None}
        lasting = [key for key in settings.keys if key.type == type and _vkey(key) not in dated]
        if not lasting:
            raise UsageError("there is no key of this algorithm to replace: it has a date of retirement already")
        unused = [vkey for vkey, key in recorded.items() if not key.used]
        if unused:
            raise UsageError(f"the key {unused[0]} was announced before: add its file to `keys` and restart first")
        new = new_signer_key(settings.name, type)
        write_signer_key(out, new)
        keys = {_vkey(lasting[0]): RecordedKey(retires, used=True), _vkey(new): RecordedKey(None, used=False)}
        await write_own_keys(database, clock.now(), keys)
        return Rotation(lasting[0], new)


def _vkey(key: SignerKey) -> str:
    return key.verifier_key.format()
