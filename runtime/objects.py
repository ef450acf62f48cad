"""Objects in S3-compatible storage: read whole, written whole, and replaced only by whoever knows what they replace.

The only module that imports obstore. Its calls block, so they belong in worker threads. Where the storage is, and who
asks, comes from the environment, as for every S3 client: ``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY`` and so on; ``AWS_ALLOW_HTTP=true`` where there is no TLS, as on loopback.

An answer can be lost after the storage has acted. A write that says "if it is still what I read" is then repeated, and
refused, because of itself: so a refusal is looked into before it is believed. For that each such write bears a random
name, as metadata of the object.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import S3Store

SECONDS = 20.0  # for one request and its repetitions; tiles are a few kilobytes, bundles at most 16.8 MB
CONNECT_SECONDS = 5.0
RETRIES = 3
WRITES_AT_ONCE = 16  # a request is mostly waiting

ENCODING = "Content-Encoding"

_ATTEMPT = "sameview-attempt"  # metadata; a storage that does not keep it lets no refusal be looked into, which is safe


class ObjectsFailed(OSError):  # noqa: N818  # says what happened, as DatabaseFailed does
    """The storage did not answer, or refused. Nobody knows whether what was asked for happened."""

    def __init__(self, doing: str) -> None:
        super().__init__(None, f"the object storage does not {doing}: is it there, and are AWS_… set as it wants them?")


class Overtaken(Exception):  # noqa: N818  # as above
    """The object is not what it was when it was read: somebody else has replaced it."""


@dataclass(frozen=True, slots=True)
class Object:
    """What an object holds, and the mark of this version of it."""

    data: bytes
    mark: str
    encoding: str | None = None
    """What ``Content-Encoding`` says the data was put into; readers of the storage itself are told to undo it."""


class Objects:
    """The objects below one prefix of one bucket. Paths are relative to it. Made by ``open_objects``."""

    def __init__(self, store: "S3Store", url: str) -> None:
        self._store = store
        self.url = url

    def read(self, path: str, cap: int) -> Object | None:
        """An object of at most ``cap`` bytes, or None when there is none.

        Raises:
            ObjectsFailed: no answer, or the object is larger.
        """
        import obstore

        try:
            answer = obstore.get(self._store, path)
            mark = answer.meta["e_tag"]
            if answer.meta["size"] > cap or mark is None:
                raise ObjectsFailed("give an object of the expected size and with an ETag")
            return Object(bytes(answer.bytes()), mark, answer.attributes.get(ENCODING))
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise ObjectsFailed("let objects be read") from error

    def write(self, files: Sequence[tuple[str, bytes]], headers: Mapping[str, str]) -> None:
        """Write objects, many at once and in any order; when this returns they are durable.

        Raises:
            ObjectsFailed: not all of them are.
        """
        if len(files) == 1:
            self._put(files[0], headers)
            return
        with ThreadPoolExecutor(WRITES_AT_ONCE) as threads:
            list(threads.map(lambda file: self._put(file, headers), files))

    def replace(self, path: str, known: str | None, data: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Write an object if it still bears the known mark, or, with None, if there is none. Returns the new mark.

        Raises:
            Overtaken: it bears another one.
            ObjectsFailed: no answer; whether it was written is unknown.
        """
        import obstore

        attempt = secrets.token_hex(16)
        try:
            put = obstore.put(
                self._store,
                path,
                data,
                attributes={**(headers or {}), _ATTEMPT: attempt},
                mode="create" if known is None else {"e_tag": known},
                use_multipart=False,
            )
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            return self._mark_of(path, attempt)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise ObjectsFailed("let objects be written") from error
        if put["e_tag"] is None:
            raise ObjectsFailed("give objects an ETag")
        return put["e_tag"]

    def _mark_of(self, path: str, attempt: str) -> str:
        """The mark of what was refused, if only its repetition was: two who write the same bytes are still two."""
        import obstore

        try:
            stored = obstore.get(self._store, path)
        except FileNotFoundError:
            raise Overtaken from None
        except obstore.exceptions.BaseError as error:
            raise ObjectsFailed("let objects be read") from error
        mark = stored.meta["e_tag"]
        if stored.attributes.get(_ATTEMPT) != attempt or mark is None:
            raise Overtaken
        return mark

    def paths(self, prefix: str) -> Iterator[str]:
        """The paths of the objects in a folder, as many as there are."""
        import obstore

        try:
            for page in obstore.list(self._store, prefix):
                for found in page:
                    yield found["path"]
        except obstore.exceptions.BaseError as error:
            raise ObjectsFailed("let objects be listed") from error

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        import obstore

        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:
            return
        except obstore.exceptions.BaseError as error:
            raise ObjectsFailed("let objects be removed") from error

    def _put(self, file: tuple[str, bytes], headers: Mapping[str, str]) -> None:
        import obstore

        path, data = file
        try:
            obstore.put(self._store, path, data, attributes=dict(headers), use_multipart=False)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise ObjectsFailed("let objects be written") from error


def check_object_url(url: str) -> None:
    """Check that this names a bucket, and perhaps a prefix in it.

    Raises:
        UsageError: it does not.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # of brackets that do not close
        parts = urlsplit("")
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "//" in parts.path:
        raise UsageError("object storage is named like s3://bucket/prefix; endpoint and access come from AWS_…")


def open_objects(url: str) -> Objects:
    """Open what ``s3://bucket/prefix`` names.

    Raises:
        UsageError: this is no such URL, or the driver is missing.
    """
    check_object_url(url)
    if find_spec("obstore") is None:
        raise UsageError("object storage needs the driver obstore: install `sameview[s3]`")
    from obstore.store import S3Store

    parts = urlsplit(url)
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        client_options={
            "timeout": timedelta(seconds=SECONDS),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "allow_http": os.environ.get("AWS_ALLOW_HTTP") == "true",  # not looked up where options are given
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=SECONDS)},
    )
    return Objects(store, url)
