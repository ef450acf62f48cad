"""What holds of the files of the repository, whatever they contain."""

import json
import re

import pytest

from tests.repo.checkout import PACKAGES, ROOT, files, read

LOCKS = ("requirements/runtime.txt", "requirements/dev.txt", "requirements/heavy.txt")
KINDS = {"unit", "property", "contract", "sim", "interop", "e2e", "repo"}
# Written so that this file does not match itself.
HOSTS = re.compile(r"py[p]i\.org|py[t]honhosted|test\.py[p]i|[-]-(?:extra-)?index-url|[-]-trusted-host")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]|User[s])/[\w.]")
LARGEST = 512 * 1024  # bytes: nothing here is made by a machine and large


def text_files() -> list[str]:
    """Every file that is text."""
    return [
        name
        for name in files()
        if b"\0" not in (ROOT / name).read_bytes()[:8192] and not name.startswith("fuzz/corpus/")
    ]


def lines_of(name: str) -> list[str]:
    """The lines of a file; bytes that are not UTF-8 matter to none of the tests here."""
    return (ROOT / name).read_bytes().decode("utf-8", "replace").split("\n")


def read_py(name: str) -> str:
    """The text of a Python file, nothing for another one."""
    return read(name) if name.endswith(".py") else ""


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs in the repository."""
    return [
        f"{name}:{number}"
        for name in text_files()
        for number, line in enumerate(lines_of(name), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_index() -> None:
    # Where packages come from is the business of who installs them; the hashes say what they are.
    assert matches(HOSTS) == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    assert matches(MACHINE_PATHS) == []


def test_no_file_is_large() -> None:
    assert [name for name in files() if (ROOT / name).stat().st_size > LARGEST] == []


def test_text_ends_its_lines_with_line_feeds() -> None:
    assert [
        name for name in text_files() if "\r" in "".join(lines_of(name)) and name.endswith((".py", ".md", ".toml"))
    ] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    text = re.sub(r"^ *#.*\n", "", read(lock), flags=re.MULTILINE)
    requirements = [" ".join(entry.split()) for entry in re.split(r"\n(?=\S)", text.strip())]
    pinned = re.compile(r"[a-z0-9.-]+(?:\[[a-z,]+\])?==\S+(?: ; [^\\]+?)? \\(?: --hash=sha256:[0-9a-f]{64}(?: \\)?)+")
    assert [entry[:60] for entry in requirements if not pinned.fullmatch(entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address_in_its_comments_either(lock: str) -> None:
    assert "://" not in read(lock)


def test_every_locked_requirement_was_asked_for() -> None:
    wanted = {
        re.split(r"[\[;<>= ]", line)[0].lower()
        for lock in LOCKS
        for line in read(lock.replace(".txt", ".in")).split("\n")
        if line and not line.startswith(("#", "-"))
    }
    locked = {
        line.split("==")[0].partition("[")[0] for lock in LOCKS for line in read(lock).split("\n") if "==" in line
    }
    assert wanted - locked == set()


def test_tests_lie_in_folders_named_by_kind() -> None:
    # A folder tests/witness would shadow the package witness.
    folders = {name.split("/")[1] for name in files() if re.match(r"tests/.+/", name)}
    assert folders <= KINDS


def test_every_folder_with_python_in_it_is_a_package() -> None:
    # Otherwise two files of one name in different folders are one module to pytest and to mypy.
    folders = {name.rpartition("/")[0] for name in files() if name.endswith(".py") and not name.startswith("specs/")}
    assert {folder for folder in folders if folder and f"{folder}/__init__.py" not in files()} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert f"{package}/py.typed" in files()


def test_every_test_file_is_one_that_pytest_finds() -> None:
    named = re.compile(r"tests/\w+/test_\w+\.py")
    with_tests = [
        name
        for name in files()
        if name.startswith("tests/") and re.search(r"^(?:async )?def test_", read_py(name), re.M)
    ]
    assert [name for name in with_tests if not named.fullmatch(name)] == []


def test_every_bench_is_described() -> None:
    names = [name for name in files() if re.fullmatch(r"bench/(?!_|run\.py)\w+\.py", name)]
    readme = read("bench/README.md")
    assert [name for name in names if f"`{name.removeprefix('bench/').removesuffix('.py')}`" not in readme] == []


def test_every_decision_is_listed() -> None:
    pages = [name.rpartition("/")[2] for name in files() if re.fullmatch(r"specs/decisions/\d{4}-.+\.md", name)]
    assert [page for page in pages if f"({page})" not in read("specs/decisions/README.md")] == []


def test_decisions_are_numbered_without_gaps_or_repetition() -> None:
    numbers = sorted(int(name.split("/")[2][:4]) for name in files() if re.match(r"specs/decisions/\d{4}-", name))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", [name for name in files() if name.endswith(".md")])
def test_links_between_documents_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", read(name))
    assert [target for target in targets if not (folder / target).exists()] == []


def test_json_parses() -> None:
    for name in files():
        if name.endswith(".json"):
            json.loads(read(name))


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    assert ".ci/run" in read(".github/workflows/checks.yml")
