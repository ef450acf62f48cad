#!/usr/bin/env python3
"""A monitor's answer to ``sameview ask``: whatever it is, it is read or refused, and is never believed unsigned."""

import json

import msgspec

from fuzz.fuzz_view import FORKED, LOG, MAIN, POLICY, answer
from fuzz.harness import main
from sameview.ask import _read, _Reply
from tests.forks import signed
from tlog.errors import FormatError
from tlog.text import encode_base64
from tlog.view import View, judge_answer

ASKED = signed(MAIN.head(20), LOG)


def said(verdict: str, size: int) -> bytes:
    given = answer(20, size)
    path = [encode_base64(value).decode() for value in given.path]
    document = {"verdict": verdict, "frontier": given.frontier.format().decode(), "proof": path, "evidence": ["0" * 64]}
    return json.dumps({**document, "size": size}, ensure_ascii=False).encode()


SEEDS = [said("same", 20), said("prefix", 33), said("ahead", 7), said("fork", 33), b'{"verdict":"unknown-origin"}']


def target(data: bytes) -> None:
    try:
        found = _read(msgspec.json.decode(data, type=_Reply), POLICY)
    except (msgspec.DecodeError, UnicodeDecodeError, FormatError, RecursionError):
        return
    if found is None:
        return
    if View.parse(View(FORKED.note, (found,)).format()).answers != (found,):
        raise AssertionError("an answer that was taken cannot be written down")
    judged = judge_answer(ASKED, found, POLICY)
    if any(one.counts for one in judged.observers) and judged.frontier.head != MAIN.head(judged.frontier.size):
        raise AssertionError("a head counts that its observer never signed")


if __name__ == "__main__":
    main(target, SEEDS)
