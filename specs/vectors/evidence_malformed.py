"""Vectors of specs/evidence.md whose bytes are malformed: one mistake each, in the header or in a note."""

from collections.abc import Iterator

from specs.vectors.evidence_parts import LOG, Maker, Vector, replaced, sloppy
from tlog.evidence import MAX_HASHES, bad_empty_head
from tlog.hashing import EMPTY_ROOT, TreeHead, leaf_hash
from tlog.text import encode_base64


class Malformed(Maker):
    """Good bundles, with a mistake in each."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._headers()
        yield from self._notes()

    def _headers(self) -> Iterator[Vector]:
        good, split = self.non_consistent(), self.quorum_split()
        opened = self.openings().format()
        root = b"root " + encode_base64(EMPTY_ROOT)
        path = b"hash " + encode_base64(EMPTY_ROOT)
        header, _, rest = good.partition(b"\n\n")
        first_hash = header.split(b"\n")[3]
        for name, about, bundle in (
            ("empty", "no bytes", b""),
            ("no-empty-line", "the header does not end", header + b"\n"),
            ("another-version", "a version nobody knows yet", replaced(good, b"@v1", b"@v2", 1)),
            ("only-a-version", "no type", b"tlog-evidence@v1\n\n" + rest),
            ("unknown-type", "a reserved type", replaced(good, b"non-consistent", b"rotation", 1)),
            ("type-in-capitals", "types are lower case", replaced(self.same_size(), b"same-size", b"SAME-SIZE", 1)),
            ("carriage-returns", "lines end with LF alone", replaced(good, b"\n", b"\r\n")),
            ("no-root", "a proof without its root", replaced(good, header.split(b"\n")[2] + b"\n", b"")),
            ("no-hash", "a proof without hashes", b"\n".join(header.split(b"\n")[:3]) + b"\n\n" + rest),
            ("hash-before-root", "fields out of order", replaced(good, b"root ", first_hash + b"\nroot ", 1)),
            ("two-roots", "a field twice", replaced(good, b"root ", root + b"\nroot ", 1)),
            (
                "root-for-same-size",
                "a field that the type does not have",
                replaced(self.same_size(), b"size\n", b"size\n" + root + b"\n", 1),
            ),
            (
                "hash-without-root",
                "a quorum split with half a proof",
                replaced(split, split.split(b"\n")[2] + b"\n", b"", 1),
            ),
            ("trailing-space", "a space behind a field", replaced(good, first_hash, first_hash + b" ", 1)),
            ("two-spaces", "two spaces before a value", replaced(good, b"root ", b"root  ", 1)),
            ("short-hash", "a hash of 31 bytes", replaced(good, first_hash, b"hash " + encode_base64(bytes(31)), 1)),
            ("hash-without-padding", "base64 without its padding", replaced(good, first_hash, first_hash[:-1], 1)),
            (
                "non-canonical-base64",
                "last bits that are not zero",
                replaced(good, first_hash, sloppy(first_hash), 1),
            ),
            ("too-many-hashes", "65 hashes", replaced(good, first_hash, b"\n".join([path] * (MAX_HASHES + 1)), 1)),
            ("openings-without-level", "a field is missing", replaced(opened, b"level 2\n", b"", 1)),
            (
                "openings-leading-zero",
                "a decimal with a leading zero",
                replaced(opened, b"level 2\n", b"level 02\n", 1),
            ),
            (
                "openings-level-too-large",
                "a decimal above 2^63 - 1",
                replaced(opened, b"level 2\n", b"level %d\n" % 2**63, 1),
            ),
            (
                "openings-three-nodes",
                "one opening too many",
                replaced(opened, b"node ", b"node " + path[5:] + b"\nnode ", 1),
            ),
            (
                "openings-index-before-level",
                "fields out of order",
                replaced(opened, b"level 2\nindex 12\n", b"index 12\nlevel 2\n", 1),
            ),
        ):
            yield Vector(f"format/{name}", about, bundle)

    def _notes(self) -> Iterator[Vector]:
        good = self.non_consistent()
        header, _, notes = good.partition(b"\n\n")
        first, _, second = notes.partition(b"\n--\n")
        one = bad_empty_head(self.head(TreeHead(0, leaf_hash(b"not empty")), LOG)).format()
        line = second.rpartition(b"\n\n")[2]
        for name, about, bundle in (
            ("no-separator", "two notes without a line between them", replaced(good, b"\n--\n", b"\n")),
            ("long-separator", "three hyphens", replaced(good, b"\n--\n", b"\n---\n")),
            (
                "separator-before-signatures",
                "a note without signature lines",
                replaced(good, b"\n\n\xe2", b"\n\n--\n\xe2", 1),
            ),
            ("no-second-note", "nothing behind the separator", header + b"\n\n" + first + b"\n--\n"),
            ("three-notes", "a third note", good + b"--\n" + second),
            (
                "two-notes-for-one",
                "two notes where the type has one",
                replaced(self.same_size(), b"same-size", b"bad-empty-head", 1),
            ),
            ("one-note-for-two", "one note where the type has two", replaced(one, b"bad-empty-head", b"same-size", 1)),
            ("no-last-line-feed", "the last line does not end", good[:-1]),
            ("empty-last-line", "an empty line at the end", good + b"\n"),
            ("size-leading-zero", "the checkpoint's size has a leading zero", replaced(good, b"\n101\n", b"\n0101\n")),
            ("empty-extension-line", "a checkpoint with an empty line", replaced(good, b"\n\n\xe2", b"\n\n\n\xe2", 1)),
            ("checkpoint-of-two-lines", "a note that is no checkpoint", replaced(good, b"\n101\n", b"\n")),
            (
                "malformed-line-of-an-unknown-key",
                "every signature line has to parse",
                good + replaced(line, b" ", b"", 1),
            ),
            ("signature-of-four-bytes", "nothing behind the key ID", good + "— stranger.example AAAAAA==\n".encode()),
            ("not-utf8", "a byte that is no UTF-8", replaced(good, b"\n101\n", b"\n101\n\xff\n")),
            ("control-character", "a tab in an extension line", replaced(good, b"\n101\n", b"\n101\n\t\n")),
        ):
            yield Vector(f"format/{name}", about, bundle)
