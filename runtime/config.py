"""Configuration files: TOML, read once at start into a frozen value, and wrong in a way that names the key.

The declaration of a file is a ``msgspec.Struct`` with ``frozen=True, forbid_unknown_fields=True``: an unknown key and a
missing key without a default are errors. ``load`` refuses a declaration that forgets to forbid. Paths in a file are
relative to the file, not to the directory the program was started in: ``resolve``.
"""

import re
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from runtime.errors import UsageError

MAX_CONFIG_BYTES = 4 * 1024 * 1024  # a witness of 10,000 logs writes 200 bytes about each
MAX_LABEL = 64  # characters

T = TypeVar("T", bound=msgspec.Struct)


def load(path: Path, type: type[T]) -> T:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, is not TOML, or has a missing, unknown or ill-typed key. Names file and key.
    """
    if not type.__struct_config__.forbid_unknown_fields:
        raise AssertionError("a configuration that ignores unknown keys hides misspelled ones")
    document = _read_toml(path)
    try:
        return msgspec.convert(document, type)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_in_words(str(error), _role(type))}") from None


def resolve(config: Path, path: str) -> Path:
    """The absolute path of a file named in a configuration file."""
    return (config.absolute().parent / path).resolve()


def check_label(where: str, label: str) -> None:
    """Check the ``name`` of one of several tables, which people will read in lists.

    Raises:
        UsageError: it is empty, long, or cannot be printed; begins with ``where`` it stands.
    """
    if not 0 < len(label) <= MAX_LABEL or not label.isprintable():
        raise UsageError(f"{where}: `name` has between 1 and {MAX_LABEL} characters, all of them printable")


def read_named(config: Path, where: str, name: str, cap: int, what: str) -> bytes:
    """Read a file that a configuration names, of at most ``cap`` bytes.

    Raises:
        UsageError: it cannot be read, or is larger than ``what`` it should be; begins with ``where`` it is named.
    """
    file = resolve(config, name)
    try:
        with file.open("rb") as opened:
            data = opened.read(cap + 1)
    except OSError as error:
        raise UsageError(f"{where}: cannot read {file}: {error.strerror}") from None
    if len(data) > cap:
        raise UsageError(f"{where}: {file} is larger than {cap} bytes: is it {what}?")
    return data


def _read_toml(path: Path) -> dict[str, object]:
    try:
        # A pipe or a device would block or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a file: name a configuration file")
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the configuration file {path}: {error.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes: is it a configuration file?")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text: is it a configuration file?") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def _role(type: type[msgspec.Struct]) -> str:
    return type.__name__.removesuffix("Config").lower()


def _in_words(message: str, role: str) -> str:
    """Turn msgspec's message, such as ``Object missing required field `x` - at `$.log[0]```, into one about keys."""
    text, _, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    where = f" in `{place}`" if place else ""
    if text.startswith("Object missing required field "):
        return f"the key {text.removeprefix('Object missing required field ')} is missing{where}: add it"
    if text.startswith("Object contains unknown field "):
        key = text.removeprefix("Object contains unknown field ")
        other = "" if place else f", or, if this is another program's file, name the {role}'s"
        return f"the key {key} is unknown{where}: remove it or correct its spelling{other}"
    if text == "Expected `array`, got `object`" and place.isidentifier():
        return f"`[{place}]` stands for one of several: write `[[{place}]]`, with two brackets on each side"
    if text == "Expected `object`, got `array`" and place.isidentifier():
        return f"there is one `{place}` only: write `[{place}]`, with one bracket on each side"
    text = _TYPES.sub(lambda found: _types_in_words(found[1]), text)
    return f"the value of `{place}` is wrong: {text[:1].lower()}{text[1:]}" if place else text


_TYPES = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")
_TYPE_WORDS = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a table",
}


def _types_in_words(types: str) -> str:
    # TOML has no null: a key is left out.
    return " or ".join(_TYPE_WORDS.get(type, type) for type in types.split(" | ") if type != "null")
