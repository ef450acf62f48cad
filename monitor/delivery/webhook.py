"""Letters as POST requests, signed as Standard Webhooks says (standardwebhooks.com, symmetric signatures).

    webhook-id: <id of the letter>
    webhook-timestamp: <Unix time of this attempt>
    webhook-signature: v1,<base64 of HMAC-SHA-256 under the secret over "<id>.<timestamp>.<body>">

Libraries of that standard verify it in a line. A receiver refuses timestamps that are minutes old, and remembers ids:
the same letter may come again. An answer 2xx means that it was taken; everything else is tried again.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence

from monitor.delivery.channel import Post, Undelivered
from monitor.delivery.letter import Letter
from runtime.client import FetchError
from runtime.clock import Clock

POST_SECONDS = 30.0
MAX_ANSWER_BYTES = 1024 * 1024  # nobody reads it


class Webhook:
    """One URL with its secret."""

    at_once = 1

    def __init__(self, url: str, secret: bytes, post: Post, clock: Clock) -> None:
        self._url = url
        self._secret = secret
        self._request = post
        self._clock = clock

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Post each."""
        for letter in letters:
            await self._post(letter)

    async def _post(self, letter: Letter) -> None:
        body = letter.document()
        headers = signed_headers(self._secret, letter.id, self._clock.now(), body)
        try:
            answer = await self._request(
                "POST", self._url, body=body, headers=headers, cap=MAX_ANSWER_BYTES, seconds=POST_SECONDS
            )
        except FetchError as error:
            raise Undelivered(str(error)) from None
        if not 200 <= answer.status < 300:
            asked = answer.headers.get("retry-after", "")
            seconds = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None
            raise Undelivered(f"the receiver answered with status {answer.status}", seconds)


def signed_headers(secret: bytes, id: str, time: int, body: bytes) -> Mapping[str, str]:
    """Sign a body that is sent at this time."""
    signature = hmac.digest(secret, f"{id}.{time}.".encode() + body, "sha256")
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(time),
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
    }
