"""The contracts of import-linter leave nothing out: it checks what it is told of, and says nothing of the rest."""

import tomllib

import pytest

from tests.repo.checkout import NODES, PACKAGES, ROOT, files, modules, packages

LAYERS, PURE = "layers", "pure"


def contract(identity: str) -> dict[str, object]:
    """One contract of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (found,) = [entry for entry in settings["contracts"] if entry["id"] == identity]
    return dict(found)


def names(identity: str, key: str) -> set[str]:
    """The modules that one key of a contract names; those of one layer stand in one line with bars between."""
    value = contract(identity)[key]
    if not isinstance(value, list):
        raise AssertionError(f"{key} of {identity} is not a list")
    return {name.strip(" ()") for line in value for name in str(line).split("|")}


def test_every_installed_package_stands_in_a_layer() -> None:
    folders = {module.package for module in modules() if module.path.endswith("__init__.py")}
    assert folders - {"tests", "fuzz", "bench"} == set(PACKAGES) == names(LAYERS, "layers")


def test_every_core_is_held_to_be_pure() -> None:
    cores = {module.name for module in packages() if module.name.split(".")[-1] == "core"}
    assert names(PURE, "source_modules") == cores | {"tlog"}


@pytest.mark.parametrize("node", NODES)
def test_every_file_of_a_node_stands_in_its_layers(node: str) -> None:
    children = {module.name.split(".")[1] for module in packages() if module.package == node and "." in module.name}
    assert names(node, "layers") == children


def test_no_installed_python_file_lies_outside_the_packages() -> None:
    outside = {name for name in files() if name.endswith(".py") and "/" not in name}
    assert outside == set()
