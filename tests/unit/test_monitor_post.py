"""How envelopes are posted to peers, over real HTTP."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gossip.shell import ENVELOPE_TYPE, Reply, Unreachable
from monitor.tasks import post
from tests.served import SECONDS, served


async def _answer(request: Request) -> Response:
    """Answer as the path says, with the body and the type that came."""
    body = await request.body() + request.headers["content-type"].encode()
    return Response(body, request.path_params["status"], {"retry-after": "7"})


APP = Starlette(routes=[Route("/{status:int}", _answer, methods=["POST"])])


@pytest.mark.parametrize("status", [200, 400, 403, 413, 415, 429, 503])
async def test_what_a_peer_answers_is_its_reply(status: int) -> None:
    async with served(APP) as here:
        reply = await post(here.client, f"{here.url}/{status}", b"envelope ", SECONDS)
    assert reply == Reply(status, b"envelope " + ENVELOPE_TYPE.encode(), 7.0)


@pytest.mark.parametrize("status", [500, 502, 504, 521])
async def test_a_server_s_failure_is_no_answer_of_the_peer(status: int) -> None:
    """What was to be said is said again later: a proxy in front of a peer that starts anew refuses nothing."""
    async with served(APP) as here:
        with pytest.raises(Unreachable, match=str(status)):
            await post(here.client, f"{here.url}/{status}", b"envelope", SECONDS)
