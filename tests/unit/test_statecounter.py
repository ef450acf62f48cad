"""The second place of a register: what it tells after crashes, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.statecounter import SLOT_BYTES, StateCounter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "register"


@pytest.fixture
def counter(path: Path) -> StateCounter:
    """A counter that stands at 7."""
    new = StateCounter.create(path)
    for value in range(1, 8):
        new.write(value)
    return new


def tear(path: Path, value: int) -> None:
    """Leave the slot of this value half written."""
    data = bytearray(path.read_bytes())
    start = value % 2 * SLOT_BYTES
    data[start + 40 : start + SLOT_BYTES] = bytes(SLOT_BYTES - 40)
    path.write_bytes(data)


def test_what_was_written_is_read(path: Path, counter: StateCounter) -> None:
    opened = StateCounter.open(path)
    assert (opened.id, opened.value) == (counter.id, 7)


def test_a_new_counter_can_be_opened(path: Path) -> None:
    id = StateCounter.create(path).id
    opened = StateCounter.open(path)
    opened.check(id, 0)
    opened.check(id, 1)


def test_two_new_counters_have_different_ids(tmp_path: Path) -> None:
    assert StateCounter.create(tmp_path / "a").id != StateCounter.create(tmp_path / "b").id


def test_only_its_owner_can_read_it(path: Path, counter: StateCounter) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_database_at_the_same_count_is_the_newest(path: Path, counter: StateCounter) -> None:
    StateCounter.open(path).check(counter.id, 7)


def test_a_database_one_ahead_crashed_before_it_signed(path: Path, counter: StateCounter) -> None:
    StateCounter.open(path).check(counter.id, 8)


@pytest.mark.parametrize("value", [0, 5, 6])
def test_a_database_behind_was_restored(path: Path, counter: StateCounter, value: int) -> None:
    with pytest.raises(UsageError, match=r"the database is older .* Put the newest database back, or make a new key"):
        StateCounter.open(path).check(counter.id, value)


@pytest.mark.parametrize("value", [9, 10, 100])
def test_a_counter_two_or_more_behind_was_restored(path: Path, counter: StateCounter, value: int) -> None:
    with pytest.raises(UsageError, match=r"is older than the database .* Put the newest register back, or make"):
        StateCounter.open(path).check(counter.id, value)


def test_a_counter_of_another_database_is_refused(path: Path, counter: StateCounter) -> None:
    with pytest.raises(UsageError, match="belongs to another database"):
        StateCounter.open(path).check("0" * 32, 7)


def test_a_missing_counter_is_refused_and_not_made(path: Path) -> None:
    with pytest.raises(UsageError, match="is missing: run `init` once"):
        StateCounter.open(path)
    assert not path.exists()


def test_a_counter_that_disappears_is_an_error_and_not_made_anew(path: Path, counter: StateCounter) -> None:
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        counter.write(8)
    assert not path.exists()


def test_after_a_torn_write_the_other_slot_counts(path: Path, counter: StateCounter) -> None:
    counter.write(8)
    tear(path, 8)
    opened = StateCounter.open(path)
    opened.check(counter.id, 8)
    assert opened.value == 7


@pytest.mark.parametrize("value", [6, 7, 9])
def test_beside_a_torn_write_only_the_database_that_was_written_before_it_is_right(
    path: Path, counter: StateCounter, value: int
) -> None:
    counter.write(8)
    tear(path, 8)
    with pytest.raises(UsageError):
        StateCounter.open(path).check(counter.id, value)


def test_a_torn_slot_is_repaired_by_the_next_write(path: Path, counter: StateCounter) -> None:
    counter.write(8)
    tear(path, 8)
    StateCounter.open(path).write(8)
    opened = StateCounter.open(path)
    opened.check(counter.id, 8)
    opened.check(counter.id, 9)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
        pytest.param(lambda data: data.replace(b" 7 ", b" 8 ").replace(b" 6 ", b" 7 "), id="changed-numbers"),
        pytest.param(lambda data: data.replace(b"v1", b"v2"), id="another-version"),
        pytest.param(lambda data: data[:100], id="cut-within-the-first-slot"),
    ],
)
def test_a_damaged_counter_is_refused(path: Path, counter: StateCounter, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match="is damaged"):
        StateCounter.open(path)


def test_slots_of_two_counters_are_refused(tmp_path: Path, counter: StateCounter) -> None:
    other = StateCounter.create(tmp_path / "other")
    data = counter.path.read_bytes()[:SLOT_BYTES] + other.path.read_bytes()[SLOT_BYTES:]
    counter.path.write_bytes(data)
    with pytest.raises(UsageError, match="is damaged"):
        StateCounter.open(counter.path)


def test_slots_that_no_crash_leaves_together_are_refused(path: Path, counter: StateCounter) -> None:
    old = path.read_bytes()
    for value in range(8, 12):
        counter.write(value)
    path.write_bytes(old[:SLOT_BYTES] + path.read_bytes()[SLOT_BYTES:])
    with pytest.raises(UsageError, match="is damaged"):
        StateCounter.open(path)


def test_a_counter_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        StateCounter.create(tmp_path / "nowhere" / "register")


def test_a_directory_is_no_counter(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the register"):
        StateCounter.open(tmp_path)


def test_a_counter_that_somebody_else_counts_in_is_not_written(tmp_path: Path) -> None:
    # Two copies of one database with the same second place: whichever opened it last has it.
    older = StateCounter.create(tmp_path / "register")
    newer = StateCounter.open(tmp_path / "register")
    newer.write(1)
    with pytest.raises(OSError, match="another instance counts in this register"):
        older.write(1)
    newer.write(2)
