"""Pages for people: templates that make every string harmless, and headers under which a page can do only its own work.

What a template puts out is escaped, and what cannot be seen in it (control characters, marks that turn the direction
of writing) is spelled out. Scripts and pictures come from files of the package, under names that say what is in them,
so browsers may keep them for ever. The styles stand in the page: a browser paints nothing before it has them, and to
ask for them would take as long as to make the page. The headers name them by their hash, and let nothing else in,
whatever a page contains.
"""

import base64
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http import refusal
from runtime.wording import age, counted, grouped, span, utc
from tlog.policy import printable

_HEADERS: Mapping[str, str] = {
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
ASSETS_PATH = "/page"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'sha256-{}'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STYLE = ".css"
_KINDS = {".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
_LEVEL = 5  # of compression: tables shrink to a twentieth, in a few milliseconds
_SEAMS = re.compile(r"(?<=[./:_-])")


@dataclass(frozen=True)
class Rendered:
    """A body as it is sent again and again, with what is worked out about it once."""

    body: bytes

    @cached_property
    def tag(self) -> str:
        """The ETag."""
        return f'"{sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes:
        """The body, by gzip."""
        return gzip.compress(self.body, _LEVEL, mtime=0)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages refer to."""

    path: str
    kind: str
    content: Rendered


class Pages:
    """The templates and files of a package: those in its folders ``templates`` and ``static``, and those here."""

    def __init__(self, package: str, **functions: object) -> None:
        found = _files("runtime.pages", package)
        self.assets: Mapping[str, Asset] = {asset.path: asset for asset in _assets(found)}
        style = "".join(data.decode("utf-8") for name, data in found if name.endswith(_STYLE))
        hashed = base64.b64encode(sha256(style.encode("utf-8")).digest()).decode("ascii")
        self.headers: Mapping[str, str] = {**_HEADERS, "content-security-policy": _POLICY.format(hashed)}
        """What is sent with a page."""
        paths = {_plain(path): path for path in self.assets}
        # Undefined names are errors: what a template misspells is not silently left out.
        self._environment = Environment(
            loader=PackageLoader(package),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_harmless,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            utc=utc, age=age, span=span, grouped=grouped, counted=counted, breakable=breakable, prose=prose
        )
        # The project's own text, as it stands: escaped, it would not be the style.
        self._environment.globals.update(asset=paths.__getitem__, style=Markup(style), **functions)  # noqa: S704

    def render(self, template: str, /, **values: object) -> Rendered:
        """Fill a template in."""
        return Rendered(self._environment.get_template(template).render(values).encode("utf-8"))

    def routes(self) -> list[Route]:
        """Where the files are."""
        return [Route(f"{ASSETS_PATH}/{{name}}", self._serve, methods=["GET"])]

    async def _serve(self, request: Request) -> Response:
        asset = self.assets.get(f"{ASSETS_PATH}/{request.path_params['name']}")
        if asset is None:
            return refusal(404, "there is no such file: reload the page")
        return answer(request, asset.content, asset.kind, _FOR_EVER)


def answer(request: Request, content: Rendered, kind: str, headers: Mapping[str, str]) -> Response:
    """Answer with an ETag, compressed for whoever takes that, or with 304 where the client has this already."""
    fields = {**headers, "etag": content.tag, "vary": "accept-encoding"}
    asked = request.headers.get("if-none-match", "")
    if asked.strip() == "*" or content.tag in (one.strip().removeprefix("W/") for one in asked.split(",")):
        return Response(status_code=304, headers=fields)
    fields["content-type"] = kind
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        # The same tag: what counts is what the page says, and it is compared weakly.
        return Response(content.compressed, headers={**fields, "content-encoding": "gzip", "etag": f"W/{content.tag}"})
    return Response(content.body, headers=fields)


def breakable(text: str) -> Markup:
    """A long name, which may be broken where a reader would."""
    return Markup("<wbr>").join(_SEAMS.split(printable(text)))


def prose(text: str) -> Markup:
    """A sentence in which commands stand between backticks."""
    parts = [Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(text.split("`"))]
    return Markup("").join(parts)


def _harmless(value: object) -> object:
    """What is put out: strings that may be anybody's, with what is invisible in them spelled out."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _files(*packages: str) -> list[tuple[str, bytes]]:
    """Name and content of each file, in the order of the packages."""
    return [
        (file.name, file.read_bytes())
        for package in packages
        for file in sorted(files(package).joinpath("static").iterdir(), key=lambda one: one.name)
    ]


def _assets(found: Sequence[tuple[str, bytes]]) -> list[Asset]:
    assets = []
    for name, data in found:
        if name.endswith(_STYLE):
            continue
        stem, _, suffix = name.rpartition(".")
        path = f"{ASSETS_PATH}/{stem}.{sha256(data).hexdigest()[:12]}.{suffix}"
        assets.append(Asset(path, _KINDS[f".{suffix}"], Rendered(data)))
    return assets


def _plain(path: str) -> str:
    """The name of the file at a path."""
    stem, _, suffix = path.rpartition("/")[2].split(".")
    return f"{stem}.{suffix}"
