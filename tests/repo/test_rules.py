"""Rules of the source that neither the type checker nor the linters can state, each with the reason it exists."""

import ast
from collections.abc import Iterator

import pytest

from tests.repo.checkout import Module, dotted, modules, packages

# Somebody has to lie, so that the others can be shown to notice: these sign what they like.
MAY_SIGN_RAW = (
    "tlog/keys.py",
    "runtime/signers.py",
    "gossip/envelope.py",
    "monitor/testify.py",  # testimony, by a key that never signs a tree head
    "witness/rotation.py",  # a retirement record, under a context of its own
    "sameview/lab/",
    "sameview/conformance",
    "tests/",
    "bench/",
    "fuzz/",
    "specs/vectors/",
)
REGISTERS = tuple(
    f"runtime/{name}.py" for name in ("register", "file_register", "shared_register", "database_register")
)
MAY_EXIT = ("runtime/daemon.py",)
CLOCK = "runtime/clock.py"
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
LAX = {
    *("int", "float", "isdigit", "isdecimal", "isnumeric"),
    *("b64decode", "a2b_base64", "standard_b64decode", "urlsafe_b64decode"),
    *("splitlines", "isspace"),
}
SPACES = {"split", "rsplit", "strip", "lstrip", "rstrip"}
EXITS = {"sys.exit", "os._exit", "os.abort", "exit", "quit", "SystemExit"}


def test_only_the_registers_make_persisted_values() -> None:
    # A signer takes nothing else, so whoever could make one could sign what was never made durable.
    offenders = [
        where
        for module in modules()
        if module.path not in REGISTERS and module.package != "tests"
        for where in _persisted_makers(module)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "code",
    [
        "Persisted(x, token=y)",
        "register.Persisted(x, token=y)",
        "from runtime.register import persisted",
        "from runtime.register import persisted_or_none as made",
        "map(register.persisted, x)",
    ],
)
def test_a_maker_of_persisted_values_is_seen(code: str) -> None:
    assert list(_persisted_makers(Module("witness/x.py", ast.parse(code)))) == ["witness/x.py:1"]


def test_bare_signatures_are_made_only_where_a_reader_expects_them() -> None:
    offenders = [
        where for module in modules() if not module.path.startswith(MAY_SIGN_RAW) for where in _raw_signs(module)
    ]
    assert offenders == []


def test_a_bare_signature_is_told_from_an_awaited_one() -> None:
    tree = ast.parse("async def f(key, signer):\n    key.sign(b'')\n    await signer.sign(None)\n    run(key.sign)\n")
    assert list(_raw_signs(Module("runtime/x.py", tree))) == ["runtime/x.py:2", "runtime/x.py:4"]


def test_only_the_clock_reads_the_time_of_day() -> None:
    offenders = [where for module in packages() if module.path != CLOCK for where in _wall_clocks(module)]
    assert offenders == []


def test_a_clock_is_seen_under_its_imported_name() -> None:
    tree = ast.parse("from time import time\nimport datetime\nx = datetime.datetime.now()\n")
    assert list(_wall_clocks(Module("witness/x.py", tree))) == ["witness/x.py:1", "witness/x.py:3"]


def test_formats_are_read_only_through_the_strict_decoders() -> None:
    # int() reads "+5" and "1_0", b64decode several spellings, splitlines() eight kinds of line end.
    formats = (module for module in packages() if module.package == "tlog" and module.path != "tlog/text.py")
    offenders = [where for module in formats for where in _lax_decoders(module)]
    assert offenders == []


@pytest.mark.parametrize(
    "code", ["int(x)", "base64.b64decode(x)", "x.splitlines()", "x.strip()", "x.split()", "x.split(None)"]
)
def test_a_lax_decoder_is_seen(code: str) -> None:
    assert list(_lax_decoders(Module("tlog/x.py", ast.parse(code)))) == ["tlog/x.py:1"]


def test_only_programs_exit() -> None:
    offenders = [
        where
        for module in packages()
        if not module.path.endswith("__main__.py") and module.path not in MAY_EXIT
        for node, where in module.nodes()
        if isinstance(node, ast.Call | ast.Raise) and _exits(node)
    ]
    assert offenders == []


def test_an_exit_is_seen() -> None:
    statements = ["sys.exit(1)", "os._exit(0)", "raise SystemExit", "raise SystemExit(2)"]
    trees = [ast.parse(statement) for statement in statements]
    seen = [any(isinstance(node, ast.Call | ast.Raise) and _exits(node) for node in ast.walk(tree)) for tree in trees]
    assert seen == [True] * 4


def test_pure_code_is_synchronous() -> None:
    # A decision that waits depends on when it is made.
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    offenders = [where for module in _pure() for node, where in module.nodes() if isinstance(node, waits)]
    assert offenders == []


def test_installed_code_does_not_assert() -> None:
    # A bare assert vanishes under -O; our own faults raise AssertionError.
    offenders = [where for module in packages() for node, where in module.nodes() if isinstance(node, ast.Assert)]
    assert offenders == []


def test_every_module_says_what_it_promises() -> None:
    offenders = [module.path for module in packages() if ast.get_docstring(module.tree) is None]
    assert offenders == []


def _pure() -> Iterator[Module]:
    return (module for module in packages() if module.is_pure)


def _persisted_makers(module: Module) -> Iterator[str]:
    makers = {"persisted", "persisted_or_none"}
    for node, where in module.nodes():
        match node:
            case ast.Call(func=func) if dotted(func).split(".")[-1] == "Persisted":
                yield where
            case ast.ImportFrom(module="runtime.register", names=names) if any(one.name in makers for one in names):
                yield where
            case ast.Attribute() if ".".join(dotted(node).split(".")[-2:]) in {f"register.{one}" for one in makers}:
                yield where


def _raw_signs(module: Module) -> Iterator[str]:
    # A Signer is asynchronous and its sign is awaited; the bare scheme is not.
    awaited = {
        id(node.value.func)
        for node, _ in module.nodes()
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call)
    }
    for node, where in module.nodes():
        if isinstance(node, ast.Attribute) and node.attr == "sign" and id(node) not in awaited:
            yield where


def _wall_clocks(module: Module) -> Iterator[str]:
    for node, where in module.nodes():
        match node:
            case ast.Attribute() if ".".join(dotted(node).split(".")[-2:]) in WALL_CLOCKS:
                yield where
            case ast.ImportFrom(module="time", names=names) if any(
                f"time.{name.name}" in WALL_CLOCKS for name in names
            ):
                yield where


def _lax_decoders(module: Module) -> Iterator[str]:
    for node, where in module.nodes():
        if isinstance(node, ast.Call) and _is_lax(node):
            yield where


def _is_lax(call: ast.Call) -> bool:
    match call:
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)) if name in LAX:
            return True
        case ast.Call(func=ast.Attribute(attr=name), args=[] | [ast.Constant(value=None)]):
            return name in SPACES  # without an argument they mean every Unicode space
    return False


def _exits(node: ast.Call | ast.Raise) -> bool:
    if isinstance(node, ast.Call):
        return dotted(node.func) in EXITS
    return node.exc is not None and dotted(node.exc) in EXITS
