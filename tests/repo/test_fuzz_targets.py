"""Every parser of strangers' bytes has a fuzz target, and every target holds for its seeds and for the kept corpus."""

import ast
import importlib
import os
import random
import re
from itertools import islice

import pytest

from fuzz.harness import Target, corpus, mutations
from tests.repo.checkout import ROOT, Module, files, packages, read

TARGETS = sorted(name for name in files() if re.fullmatch(r"fuzz/fuzz_\w+\.py", name))
MUTATIONS = 200  # of the seeds, in each run of the tests: enough to notice a target that broke
# What reads single fields; everything that is built from them is fuzzed.
FIELD_DECODERS = "tlog/text.py"


def load(target: str) -> tuple[Target, list[bytes]]:
    """A target and its seeds."""
    module = importlib.import_module(target.removesuffix(".py").replace("/", "."))
    return module.target, list(module.SEEDS)


def parsers() -> list[tuple[str, str]]:
    """Classes with ``parse`` and public functions ``parse_…`` and ``open_…`` of the formats and of gossip."""
    return [
        (module.name, name)
        for module in packages()
        if module.package in ("tlog", "gossip") and module.path != FIELD_DECODERS
        for name in _parsers(module)
    ]


def _parsers(module: Module) -> list[str]:
    return [
        node.name
        for node in module.tree.body
        if (isinstance(node, ast.ClassDef) and _has_parse(node))
        or (isinstance(node, ast.FunctionDef) and node.name.startswith(("parse_", "open_")))
    ]


def _has_parse(node: ast.ClassDef) -> bool:
    return any(isinstance(part, ast.FunctionDef) and part.name == "parse" for part in node.body)


@pytest.mark.parametrize(("module", "name"), parsers())
def test_every_parser_has_a_fuzz_target(module: str, name: str) -> None:
    assert any(re.search(rf"\b{name}\b", read(target)) for target in TARGETS), f"no fuzz target names {module}.{name}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_a_program(target: str) -> None:
    # libFuzzer minimises and merges by starting the program again, and people start it by its path.
    assert (os.access(ROOT / target, os.X_OK), read(target).startswith("#!/usr/bin/env python3\n")) == (True, True)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_for_its_seeds_the_corpus_and_small_changes_of_them(target: str) -> None:
    run, seeds = load(target)
    kept = [*seeds, *corpus(target.removeprefix("fuzz/fuzz_").removesuffix(".py"))]
    for data in (*kept, *islice(mutations(kept, random.Random(0)), MUTATIONS)):
        run(data)
    assert seeds


def test_every_kept_corpus_has_its_target() -> None:
    folders = {name.split("/")[2] for name in files() if name.startswith("fuzz/corpus/")}
    assert {folder for folder in folders if f"fuzz/fuzz_{folder}.py" not in TARGETS} == set()
