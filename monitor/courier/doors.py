"""``/v1/channels`` for the operator: whom notices reach, and whom they do not."""

from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.courier.courier import Courier
from monitor.courier.health import ChannelState


def channel_routes(courier: Courier) -> list[Route]:
    """The one endpoint."""
    return [Route("/v1/channels", partial(_list, courier), methods=["GET"])]


async def _list(courier: Courier, _request: Request) -> Response:
    health = await courier.health()
    document = {"channels": [_document(state) for state in health.channels]}
    return JSONResponse(document, headers={"cache-control": "no-store"})


def _document(state: ChannelState) -> dict[str, object]:
    channel = state.channel
    return {
        "name": channel.name,
        "waiting": state.waiting,
        "attempts": channel.attempts,
        "failing_since_ms": channel.failing_since_ms,
        "reason": channel.reason,
        "delivered_ms": channel.delivered_ms,
    }
