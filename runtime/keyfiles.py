"""Private keys on disk: one line, ``PRIVATE+KEY+<name>+<key id>+<base64>``, in a file only its owner can read.

A key that others could read is refused, because it may already be somebody else's. A key file is never overwritten:
whoever loses a log's key has lost the log.
"""

import os
import secrets
import stat
from pathlib import Path

from runtime.errors import UsageError
from runtime.files import create_file
from tlog.errors import FormatError
from tlog.keys import KeyType, SignerKey

SEED_BYTES = 32
MAX_KEY_FILE_BYTES = 4096  # a key line is under 400 bytes: 255 of name, 8 of id, 44 of seed

_BEGINNING = b"PRIVATE+KEY+"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def new_signer_key(name: str, type: KeyType) -> SignerKey:
    """Make a key from the operating system's randomness."""
    return SignerKey(name, type, secrets.token_bytes(SEED_BYTES))


def read_signer_key(path: Path) -> SignerKey:
    """Read a key file.

    Raises:
        UsageError: it is missing, malformed, or readable by others.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. It changes nothing for files.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        make = f"sameview keygen --name NAME --type TYPE --out {path}"
        raise UsageError(f"the key file {path} does not exist: correct the path, or make one with `{make}`") from None
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)  # of what was opened, not of what has that name by now
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file: name a key file")
        data = os.read(descriptor, MAX_KEY_FILE_BYTES + 1)
        # Of a policy or a vkey, which others may read, this is not to be said: no chmod makes a key file of them.
        if data.startswith(_BEGINNING) and status.st_mode & _OTHERS:
            raise UsageError(f"the key file {path} can be read by others: run `chmod 600 {path}`")
    finally:
        os.close(descriptor)
    return _parse(path, data)


def write_signer_key(path: Path, key: SignerKey) -> None:
    """Write a key to a new file.

    Raises:
        UsageError: the file exists, or its directory does not.
    """
    try:
        create_file(path, f"{key.format()}\n".encode())
    except FileExistsError:
        raise UsageError(f"{path} exists and key files are never overwritten: choose another name") from None
    except FileNotFoundError:
        raise UsageError(f"the directory {path.parent} does not exist: make it first") from None
    except OSError as error:
        raise UsageError(f"cannot write the key file {path}: {error.strerror}") from None


def _parse(path: Path, data: bytes) -> SignerKey:
    line = data.removesuffix(b"\n")
    try:
        if len(data) > MAX_KEY_FILE_BYTES or b"\n" in line:
            raise FormatError("it has more than one line")
        return SignerKey.parse(line.decode("utf-8"))
    except (FormatError, UnicodeDecodeError):
        # Not the parser's message: nothing about a private key belongs in a terminal or a log.
        raise UsageError(f"{path} is not a key file: one line that begins with PRIVATE+KEY+ is expected") from None
