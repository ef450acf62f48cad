"""specs/requirements.md is held to the code.

No requirement is cited that it does not list, and none of level MUST that it says is met goes uncited.
"""

import re
from dataclasses import dataclass
from functools import cache

import pytest

from tests.repo.checkout import files, read

REQUIREMENTS = "specs/requirements.md"
ROW = re.compile(r"^\| ([A-Z]+-\d+) \| (\w+) \| (.+?) \| (.+) \| (.+?) \|$", re.MULTILINE)
CITED = re.compile(r"\b(?:SN|CP|CS|T|P|PO|W|L|C)-\d+\b")
SPEC = re.compile(r"SPEC:((?:[ ,]+(?:and )?[A-Z]+-\d+)+)")
LEVELS = {"MUST", "SHOULD", "MAY", "implied", "draft"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the table."""

    id: str
    level: str
    where: str

    @property
    def file(self) -> str | None:
        """The file that meets it, None when it does not apply here."""
        found = re.fullmatch(r"`(.+\.py)`", self.where)
        return found[1] if found else None


@cache
def requirements() -> tuple[Requirement, ...]:
    """All of them, in order."""
    return tuple(Requirement(row[1], row[2], row[5]) for row in ROW.finditer(read(REQUIREMENTS)))


def binding() -> list[Requirement]:
    """Those of level MUST that the project meets itself."""
    return [requirement for requirement in requirements() if requirement.level == "MUST" and requirement.file]


@cache
def citations(folder: str) -> frozenset[str]:
    """The numbers cited in the Python files below a folder."""
    texts = (read(name) for name in files() if name.startswith(folder) and name.endswith(".py"))
    return frozenset(number for text in texts for number in CITED.findall(text))


def test_the_table_has_every_line_it_should_have() -> None:
    lines = [line for line in read(REQUIREMENTS).splitlines() if re.match(r"\| [A-Z]+-\d", line)]
    assert len(requirements()) == len(lines) > 100


def test_numbers_are_unique() -> None:
    numbers = [requirement.id for requirement in requirements()]
    assert len(numbers) == len(set(numbers))


def test_levels_are_the_known_ones() -> None:
    assert {requirement.level for requirement in requirements()} == LEVELS


def test_every_line_names_a_file_that_exists_or_says_why_not() -> None:
    wrong = [
        requirement.id
        for requirement in requirements()
        if (requirement.file not in files() if requirement.file else requirement.where.startswith("`"))
    ]
    assert wrong == []


def test_every_cited_number_is_listed() -> None:
    listed = {requirement.id for requirement in requirements()}
    cited = {
        (number, name)
        for name in files()
        if name.endswith(".py")
        for group in SPEC.findall(read(name))
        for number in CITED.findall(group)
    }
    assert {(number, name) for number, name in cited if number not in listed} == set()


@pytest.mark.parametrize("requirement", binding(), ids=lambda requirement: requirement.id)
def test_what_must_hold_is_cited_where_it_is_met(requirement: Requirement) -> None:
    cited = requirement.file is not None and requirement.id in CITED.findall(read(requirement.file))
    assert cited, f"{requirement.file} does not cite {requirement.id}"


@pytest.mark.parametrize("requirement", binding(), ids=lambda requirement: requirement.id)
def test_what_must_hold_is_cited_in_a_test(requirement: Requirement) -> None:
    cited = requirement.id in citations("tests/")
    assert cited, f"no test cites {requirement.id}"
