"""A witness inside the test's own process, served over real HTTP on loopback."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.keys import witness_key
from tests.served import Served, served
from tlog.keys import SignerKey, VerifierKey
from witness.__main__ import create, opened
from witness.app import witness_app
from witness.config import WitnessSettings
from witness.cosigner import Cosigner


def witness_settings(
    directory: Path, logs: Mapping[str, Sequence[VerifierKey]], keys: Sequence[SignerKey]
) -> WitnessSettings:
    """A configuration whose state stands in ``directory``: ``data`` and ``register``."""
    return WitnessSettings(
        name=keys[0].name,
        listen="127.0.0.1:0",
        operator_listen="127.0.0.1:0",
        data=directory / "data",
        register=directory / "register",
        keys=tuple(keys),
        key_files=tuple(directory / f"{number}.key" for number in range(len(keys))),
        history_days=30,
        peers=(),
        url=None,
        logs={origin: tuple(of_log) for origin, of_log in logs.items()},
    )


async def make_witness(directory: Path) -> None:
    """What ``witness init`` does."""
    await create(witness_settings(directory, {}, [witness_key()]))


@asynccontextmanager
async def open_witness(
    directory: Path, logs: Mapping[str, Sequence[VerifierKey]], keys: Sequence[SignerKey], clock: FakeClock
) -> AsyncIterator[Cosigner]:
    """What ``witness serve`` opens; its state outlives it in the directory."""
    async with opened(witness_settings(directory, logs, keys), clock) as ours:
        yield ours.cosigner


@asynccontextmanager
async def witness(
    directory: Path,
    logs: Mapping[str, Sequence[VerifierKey]],
    keys: Sequence[SignerKey],
    clock: FakeClock | None = None,
) -> AsyncIterator[Served]:
    """A new witness, served."""
    await make_witness(directory)
    async with (
        open_witness(directory, logs, keys, clock or FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics())) as answering,
    ):
        yield answering
