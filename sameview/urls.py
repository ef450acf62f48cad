"""URLs that a person typed: a malformed one is bad usage, and is told apart from a server that cannot be reached."""

import re
from urllib.parse import urlsplit

from runtime.errors import UsageError

_VISIBLE = re.compile(r"[\x21-\x7e]+")


def checked_url(url: str, what: str) -> str:
    """Return the URL without slashes at its end.

    Raises:
        UsageError: it is none that begins with http:// or https://.
    """
    if not _VISIBLE.fullmatch(url) or not _names_a_server(url):
        raise UsageError(f"{what} is not a URL: write one such as https://log.example or http://127.0.0.1:8080")
    return url.rstrip("/")


def _names_a_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        port = parts.port  # raises for what is no port
    except (ValueError, UnicodeError):  # brackets without an address between them, a host like "a..b"
        return False
    extra = parts.query or parts.fragment or parts.username is not None
    return parts.scheme in ("http", "https") and bool(host) and port != 0 and not extra and "\\" not in url
