"""The checkout as the tests of the repository see it: its files, their syntax trees, and where code stands in them."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tlog", "runtime", "gossip", "logserver", "witness", "monitor", "sameview")
NODES = ("logserver", "witness", "monitor")


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file and its syntax tree."""

    path: str  # relative to the checkout, with slashes
    tree: ast.Module

    @property
    def name(self) -> str:
        """The dotted name it is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """The top-level folder."""
        return self.path.partition("/")[0]

    @property
    def is_pure(self) -> bool:
        """Whether this is a value or a decision: ``tlog``, and every ``core``."""
        return self.package == "tlog" or "core" in self.name.split(".")

    def nodes(self) -> Iterator[tuple[ast.AST, str]]:
        """Every node of the tree, with where it stands."""
        for node in ast.walk(self.tree):
            yield node, f"{self.path}:{getattr(node, 'lineno', 0)}"


@cache
def files() -> tuple[str, ...]:
    """Every file that is, or is about to be, in version control."""
    # Whoever runs the tests need not be who made the clone.
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return tuple(sorted({name for name in listed if (ROOT / name).is_file()}))


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file."""
    return tuple(Module(name, ast.parse((ROOT / name).read_bytes(), name)) for name in files() if name.endswith(".py"))


def packages() -> Iterator[Module]:
    """The modules that are installed."""
    return (module for module in modules() if module.package in PACKAGES)


def read(name: str) -> str:
    """The text of one file."""
    return (ROOT / name).read_text(encoding="utf-8")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` as written, the last names of it where it hangs on a call; empty for anything else."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name):
            return f"{dotted(value)}.{name}".lstrip(".")
        case ast.Subscript(value):
            return dotted(value)
    return ""
