"""Pages for people: templates that make every string harmless, and headers under which a page can do only its own work.

What a template puts out is escaped, and what cannot be seen in it (control characters, marks that turn the direction
of writing) is spelled out. Scripts, styles and pictures come from files of the package, under names that say what is
in them, so browsers may keep them for ever; nothing else is let in, whatever a page contains.
"""

import gzip
import re
from collections.abc import Mapping
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

PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
ASSETS_PATH = "/page"

_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
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
        self.assets: Mapping[str, Asset] = {asset.path: asset for asset in _assets("runtime.pages", package)}
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
        self._environment.globals.update(asset=paths.__getitem__, **functions)

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


def _assets(*packages: str) -> list[Asset]:
    found = []
    for package in packages:
        for file in sorted(files(package).joinpath("static").iterdir(), key=lambda one: one.name):
            content = Rendered(file.read_bytes())
            stem, _, suffix = file.name.rpartition(".")
            path = f"{ASSETS_PATH}/{stem}.{sha256(content.body).hexdigest()[:12]}.{suffix}"
            found.append(Asset(path, _KINDS[f".{suffix}"], content))
    return found


def _plain(path: str) -> str:
    """The name of the file at a path."""
    stem, _, suffix = path.rpartition("/")[2].split(".")
    return f"{stem}.{suffix}"
