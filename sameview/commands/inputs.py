"""What several commands are told: files, each within a limit, and whom to trust.

Whatever is wrong with them ends in a ``UsageError`` that names the file or the option, and repeats nothing of what is
in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.errors import UsageError
from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.policy import MAX_POLICY_BYTES, Policy
from tlog.trust import Trust


def trust_from(vkeys: Sequence[str], origin: str | None, policy_file: str | None = None) -> Trust:
    """Make of the options ``--vkey``, ``--origin`` and ``--policy`` whom to trust."""
    if policy_file is None and not vkeys:
        raise UsageError("say whom you trust: give --policy, --vkey or both")
    if origin is not None and not vkeys:
        raise UsageError("--origin says which log a --vkey speaks for: give the --vkey too")
    keys = tuple(_parse_vkey(number, vkey) for number, vkey in enumerate(vkeys, 1))
    policy = None if policy_file is None else _read_policy(policy_file)
    try:
        return Trust(keys, origin, policy)
    except ValueError as error:
        raise UsageError(f"{error}: find out which of them is right, and leave the other out") from None


def observers_from(policy_file: str) -> Policy:
    """Read a policy whose witness lines are the observers of monitors."""
    policy = _read_policy(policy_file)
    if policy.quorum is None:
        raise UsageError(
            f"{policy_file}: its quorum is none: add the observer keys of the monitors as witness lines, "
            "and how many of them have to agree as the quorum"
        )
    return policy


def read_file(file: str, cap: int) -> bytes:
    """Read a file of at most ``cap`` bytes."""
    try:
        with open(file, "rb") as opened:
            data = opened.read(cap + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > cap:
        raise UsageError(f"{file} is larger than {cap} bytes, the most that such a file can have")
    return data


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say of which file or option it is that its bytes are malformed."""
    try:
        yield
    except FormatError as error:
        raise UsageError(f"{what}: {error}") from None


def _parse_vkey(number: int, vkey: str) -> VerifierKey:
    with naming(f"--vkey number {number}"):
        return VerifierKey.parse(vkey)


def _read_policy(file: str) -> Policy:
    with naming(file):
        return Policy.parse(read_file(file, MAX_POLICY_BYTES))
