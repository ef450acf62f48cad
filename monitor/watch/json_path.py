"""Values in entries that are JSON, by a path of RFC 9535.

The path is the reader's, the document a stranger's: so a path may hold what keeps the time in proportion to the
document, and nothing else. One ``..`` at most; no absolute path in a filter; no functions that match regular
expressions, for ``matches`` compares with RE2. Of equal keys in one object the last one counts. An entry that is not
JSON is none that is meant; one that nests too deeply to be searched is shown, with that as the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from jsonpath import JSONPath as Path
from jsonpath import JSONPathEnvironment, JSONPathError
from jsonpath.filter import BaseExpression, FilterQuery, RootFilterQuery
from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import Filter
from typing_extensions import override

from monitor.watch.regular import Regular, compiled

MAX_PATH = 1024  # characters
MAX_SEGMENTS = 32
Scalar = str | int | float | bool | None
Document = Scalar | Sequence[object] | Mapping[str, object]
TOO_DEEP = "this entry nests too deeply to be searched"


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Entries in which the path leads to a value: any, one that equals, or text in which an expression matches."""

    path: str
    _query: Path
    equals: Scalar = None
    _regular: Regular | None = None

    @classmethod
    def compile(cls, path: str, equals: Scalar = None, matches: str | None = None) -> "JsonPath":
        """Read a path and what its value is compared with.

        Raises:
            ValueError: it is no such path, or RE2 does not accept ``matches``.
        """
        if not 0 < len(path) <= MAX_PATH:
            raise ValueError(f"a JSON path has between 1 and {MAX_PATH} characters")
        try:
            query = _ENVIRONMENT.compile(path)
        except JSONPathError:
            raise ValueError("this is no JSON path as in RFC 9535, without the functions match and search") from None
        if not isinstance(query, Path):
            raise AssertionError("a strict environment reads no compound paths")
        _check(query)
        return cls(path, query, equals, None if matches is None else compiled(matches))

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look for the first value that is meant."""
        try:
            document = msgspec.json.decode(entry)
            found = next((one for one in self._values(document) if self._is_meant(one)), None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ()
        except RecursionError:
            return (TOO_DEEP,)
        return () if found is None else (f"{self.path} is {found.text}",)

    def _values(self, document: Document) -> Iterator["_Value"]:
        if isinstance(document, str):  # the library would take it for JSON
            yield from () if self._query.segments else (_Value(document),)
            return
        for one in self._query.finditer(document):
            yield _Value(one.obj)

    def _is_meant(self, found: "_Value") -> bool:
        if self._regular is not None:
            return (
                isinstance(found.value, str)
                and self._regular.search(found.value.encode("utf-8", "replace")) is not None
            )
        # In Python True equals 1, in JSON it does not.
        return self.equals is None or (found.value == self.equals and _is_truth(found.value) == _is_truth(self.equals))


@dataclass(frozen=True, slots=True)
class _Value:
    """A value that a path leads to, which may be null."""

    value: object

    @property
    def text(self) -> str:
        return msgspec.json.encode(self.value).decode()


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


class _Environment(JSONPathEnvironment):
    """Paths of RFC 9535 without the two functions whose time an entry could choose."""

    @override
    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        del self.function_extensions["match"], self.function_extensions["search"]


_ENVIRONMENT = _Environment(strict=True)


def _check(query: Path) -> None:
    segments = list(_all_segments(query))
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"a JSON path has at most {MAX_SEGMENTS} segments")
    if sum(isinstance(one, JSONPathRecursiveDescentSegment) for one in segments) > 1:
        raise ValueError("a JSON path has `..` at most once: several would take time that an entry could choose")


def _all_segments(query: Path) -> Iterator[JSONPathSegment]:
    for segment in query.segments:
        yield segment
        for selector in segment.selectors:
            if isinstance(selector, Filter):
                yield from _of_expression(selector.expression)


def _of_expression(expression: BaseExpression) -> Iterator[JSONPathSegment]:
    if isinstance(expression, RootFilterQuery):
        raise ValueError(
            "a filter of a JSON path begins with @, not with $: the latter would be searched again and again"
        )
    if isinstance(expression, FilterQuery):
        yield from _all_segments(expression.path)
    else:
        for child in expression.children():
            yield from _of_expression(child)
