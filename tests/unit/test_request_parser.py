"""What the request parser accepts, what it refuses, and that portions make no difference."""

from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_http import SEEDS, SMALL, Reading, read
from runtime.limits import Limits
from runtime.request_parser import MAX_CHUNK_LINE, BodyPart, RequestEnd, RequestError, RequestHead, RequestParser

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def reading(data: bytes, limits: Limits = Limits()) -> Reading:  # noqa: B008 # frozen
    return read([data], limits)


def refusal(data: bytes, limits: Limits = Limits()) -> tuple[int, str]:  # noqa: B008 # frozen
    refused = reading(data, limits).refusal
    assert refused is not None
    return refused


def head(data: bytes) -> RequestHead:
    return reading(data).requests[0].head


# Accepted


def test_a_head_is_read_as_sent() -> None:
    assert head(b"GET /a%20b/c?x=%00&y HTTP/1.1\r\nHost: a:80\r\nX-Text:\t b \xff \r\n\r\n") == RequestHead(
        method="GET",
        target=b"/a%20b/c?x=%00&y",
        path="/a b/c",
        raw_path=b"/a%20b/c",
        query=b"x=%00&y",
        version="1.1",
        headers=[(b"host", b"a:80"), (b"x-text", b"b \xff")],
        has_body=False,
        keep_alive=True,
        expects_continue=False,
    )


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (POST + b"Content-Length: 5\r\n\r\nabcde", b"abcde"),
        (POST + b"Content-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n", b"abcde"),
        (CHUNKED + b"1\r\na\r\n00A;x=y\r\n0123456789\r\n00\r\n\r\n", b"a0123456789"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (POST + b"transfer-encoding: Chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n", b"\n"),
        (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"\r\n" + POST + b"Content-Length: 1\r\n\r\na", b"a"),
    ],
)
def test_a_body_is_read(data: bytes, body: bytes) -> None:
    (request,) = reading(data).requests
    assert (request.body, request.complete) == (body, True)


def test_requests_sent_together_are_read_one_after_the_other() -> None:
    data = POST + b"Content-Length: 2\r\n\r\nab" + GET + b"\r\n" + CHUNKED + b"1\r\nc\r\n0\r\n\r\n" + GET + b"\r\n"
    assert [(each.head.method, each.body) for each in reading(data).requests] == [
        ("POST", b"ab"),
        ("GET", b""),
        ("POST", b"c"),
        ("GET", b""),
    ]


def test_an_empty_line_may_stand_before_each_request() -> None:
    assert len(reading((b"\r\n" + GET + b"\r\n") * 3).requests) == 3


def test_nothing_of_a_next_request_is_read_before_it_is_asked_for() -> None:
    parser = RequestParser(Limits())
    parser.feed(GET + b"\r\n" + GET + b"\r\n")
    parser.next_event()
    assert parser.buffered == len(GET + b"\r\n")


def test_a_body_is_given_as_it_comes() -> None:
    parser = RequestParser(Limits())
    parser.feed(POST + b"Content-Length: 3\r\n\r\nab")
    events = [parser.next_event(), parser.next_event(), parser.next_event()]
    parser.feed(b"c")
    events += [parser.next_event(), parser.next_event(), parser.next_event()]
    assert events[1:] == [BodyPart(b"ab"), None, BodyPart(b"c"), RequestEnd(), None]


@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        (b"HTTP/1.1\r\nHost: a\r\n", True),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: te, Close\r\n", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.0\r\nConnection: keep-alive, close\r\n", False),
    ],
)
def test_the_client_says_whether_the_connection_stays(fields: bytes, keeps: bool) -> None:
    assert head(b"GET / " + fields + b"\r\n").keep_alive is keeps


def test_an_expectation_of_http_1_0_is_ignored() -> None:
    fields = b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    assert [head(POST + fields).expects_continue, head(b"POST / HTTP/1.0\r\n" + fields).expects_continue] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "upgrades",
    [
        b"Upgrade: h2c\r\n",
        b"Upgrade: h2c\r\nUpgrade: websocket\r\n",
        b"upgrade: h2c\r\nUpgrade:\r\nUPGRADE: a\r\nX: y\r\nUpgrade: b\r\n",
    ],
)
def test_an_offer_to_upgrade_is_ignored_and_the_next_request_is_read(upgrades: bytes) -> None:
    # Java's client offers HTTP/2 with every request over plain text.
    offer = b"Connection: Upgrade, HTTP2-Settings\r\n" + upgrades + b"HTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    data = POST + offer + b"Content-Length: 2\r\n\r\nab" + GET + b"\r\n"
    assert [(each.head.method, each.body) for each in reading(data).requests] == [("POST", b"ab"), ("GET", b"")]


@pytest.mark.parametrize(
    "host", [b"a", b"a.example:8080", b"127.0.0.1", b"[::1]:80", b"[2001:db8::1]", b"a_b-c~d", b"a:"]
)
def test_hosts_are_accepted(host: bytes) -> None:
    assert head(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").headers == [(b"host", host)]


# Refused


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1\n", 400),
        (b"GET /\r\n", 400),
        (b"GET  / HTTP/1.1\r\n", 400),
        (b"GET /  HTTP/1.1\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\n", 400),
        (b" GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1 \r\n", 400),
        (b"GET / http/1.1\r\n", 400),
        (b"GET / HTTP/1.10\r\n", 400),
        (b"GET / HTTP/01.1\r\n", 400),
        (b"GET / ICE/1.0\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n", 400),
        (b"GET /#fragment HTTP/1.1\r\n", 400),
        (b"GET /<> HTTP/1.1\r\n", 400),
        (b"GET /%0 HTTP/1.1\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n", 400),
        (b"GET /?%zz HTTP/1.1\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\n", 400),
        (b"GET /%0a HTTP/1.1\r\n", 400),
        (b"GET /%7f HTTP/1.1\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\n", 400),
        (b"GET a HTTP/1.1\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n", 400),
        (b"GET * HTTP/1.1\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\n", 400),
        (b"G\x00T / HTTP/1.1\r\n", 400),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", 400),
        (b"\rGET / HTTP/1.1\r\n", 400),
        (b"\nGET / HTTP/1.1\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
        (b"PRI / HTTP/1.1\r\n", 400),
        (b"DESCRIBE / HTTP/1.1\r\n", 400),
        (b"DESCRIBE / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n", 400),
        (b"CONNECT / HTTP/1.1\r\n", 501),
        (b"BREW / HTTP/1.1\r\n", 501),
        (b"get / HTTP/1.1\r\n", 501),
        (b"PRI * HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.2\r\n", 505),
        (b"GET / HTTP/0.9\r\n", 505),
    ],
)
def test_a_request_line_is_refused(line: bytes, status: int) -> None:
    assert refusal(line + b"Host: a\r\n\r\n")[0] == status


@pytest.mark.parametrize(
    "fields",
    [
        b"X: a\n",
        b"X: a\r\r\n",
        b"X: a\rb\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\r\n\tb\r\n",
        b" X: a\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b"X Y: a\r\n",
        b": a\r\n",
        b"X\r\n",
        b"X: \x00\r\n",
        b"X: \x0b\r\n",
        b"X: \x1b[0m\r\n",
        b"X: \x7f\r\n",
        b"X\xff: a\r\n",
        b"X(: a\r\n",
        b"Host: b\r\n",
        b"hOST: a\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 05\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 5.0\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
    ],
)
def test_header_fields_are_refused(fields: bytes) -> None:
    assert refusal(POST + fields + b"\r\n")[0] == 400


@pytest.mark.parametrize(
    "coding",
    [b"xchunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b'"chunked"', b""],
)
def test_a_transfer_encoding_other_than_chunked_is_refused(coding: bytes) -> None:
    assert refusal(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n")[0] == 501


def test_a_transfer_encoding_on_http_1_0_is_refused() -> None:
    assert refusal(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")[0] == 400


def test_an_unknown_expectation_is_refused() -> None:
    assert refusal(POST + b"Expect: more\r\nContent-Length: 1\r\n\r\n")[0] == 417


@pytest.mark.parametrize(
    "fields", [b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a@b\r\n", b"Host: a:b\r\n"]
)
def test_a_host_is_named_exactly_once(fields: bytes) -> None:
    assert refusal(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"+1\r\na\r\n",
        b"-1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1 ;x\r\na\r\n",
        b"0x1\r\na\r\n",
        b"g\r\na\r\n",
        b"\r\na\r\n",
        b"1\na\r\n",
        b"1\r\na\n",
        b"1\r\naa\r\n",
        b"1\r\naXX",
        b"1\r\na0\r\n\r\n",
        b"2\r\na\r\n0\r\n\r\n",
        b"1;\x00\r\na\r\n",
        b"1;x\rz\r\na\r\n",
        b"1;x\n\r\na\r\n",
        b"0\r\nX: a\r\n\r\n",
        b"0\r\n\n",
        b"0000000000000000\r\n\r\n",
        b"8000000000000001\r\na\r\n",
        b"1;" + b"x" * MAX_CHUNK_LINE + b"\r\na\r\n",
        b"1" * MAX_CHUNK_LINE + b"1",
    ],
)
def test_a_chunked_body_is_refused(body: bytes) -> None:
    assert refusal(CHUNKED + body)[0] == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 40 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 200, 414),
        (b"A" * 200, 414),
        (GET + b"X: " + b"a" * 200 + b"\r\n\r\n", 431),
        (GET + b"X: a\r\n" * 40 + b"\r\n", 431),
        (GET + b"X: " + b"a" * 200, 431),
        (POST + b"Content-Length: 41\r\n\r\n", 413),
        (POST + b"Content-Length: 999999999999999999\r\n\r\n", 413),
        (CHUNKED + b"29\r\n", 413),
        (CHUNKED + b"20\r\n" + b"a" * 32 + b"\r\n9\r\n", 413),
        (CHUNKED + b"fffffffffffffff\r\n", 413),
        (CHUNKED + b"1\r\na\r\n" * 14, 400),
    ],
)
def test_a_limit_refuses(data: bytes, status: int) -> None:
    assert refusal(data, SMALL)[0] == status


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 39 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"X: " + b"a" * (200 - len(GET) - 7) + b"\r\n\r\n",
        POST + b"Content-Length: 40\r\n\r\n" + b"a" * 40,
        CHUNKED + b"28\r\n" + b"a" * 40 + b"\r\n0\r\n\r\n",
        CHUNKED + b"1\r\na\r\n" * 12 + b"0\r\n\r\n",
    ],
)
def test_a_limit_can_be_reached(data: bytes) -> None:
    assert reading(data, SMALL).requests[0].complete


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "a request has at most one Content-Length"),
        (POST + b"Content-Length: x\r\n\r\n", "the Content-Length is not a decimal number"),
        (
            POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "a request has Content-Length or Transfer-Encoding, never both",
        ),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n", "the only Transfer-Encoding known here is chunked"),
        (POST + b"Host: b\r\n\r\n", "a request has one Host field"),
        (b"GET / HTTP/1.1\r\n\r\n", "the Host field is missing"),
    ],
)
def test_a_refusal_names_its_reason(data: bytes, sentence: str) -> None:
    assert refusal(data)[1] == sentence


def test_what_was_sent_is_not_repeated_in_a_refusal() -> None:
    faults = [refusal(data)[1] for data in (b"SECRET / HTTP/1.1\r\nHost: a\r\n\r\n", POST + b"SECRET\r\n\r\n")]
    assert not any("SECRET" in fault for fault in faults)


def test_a_refusal_is_repeated() -> None:
    parser = RequestParser(Limits())
    parser.feed(b"\n")
    for _ in range(2):
        with pytest.raises(RequestError, match="request line"):
            parser.next_event()
        parser.feed(GET + b"\r\n")
    assert parser.buffered


def test_the_parts_before_a_fault_are_given() -> None:
    assert reading(CHUNKED + b"3\r\nabcX").requests[0].body == b"abc"


# Portions


@pytest.mark.parametrize("limits", [SMALL, Limits()], ids=["small", "large"])
@pytest.mark.parametrize("data", SEEDS)
def test_single_bytes_say_what_the_whole_says(data: bytes, limits: Limits) -> None:
    assert read([data[i : i + 1] for i in range(len(data))], limits) == read([data], limits)


@given(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_any_portions_say_what_the_whole_says(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    portions = [data[begin:end] for begin, end in pairwise(places)]
    assert read(portions, Limits()) == read([data], Limits())


# Why there is a guard: what llhttp, as httptools has it, lets through.


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        GET + b"Host: b\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n" + GET + b"\r\n",
        POST + b"Content-Length: 01\r\n\r\na",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nHost: b\r\n\r\n",
    ],
)
def test_the_guard_refuses_what_llhttp_accepts(data: bytes) -> None:
    httptools.HttpRequestParser(object()).feed_data(data)
    assert refusal(data)[0] >= 400
