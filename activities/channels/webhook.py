"""The channel `webhook`: texts posted to somebody's server, signed as Standard Webhooks say.

Owns the request, its signature, and what each answer or its absence means.

Invariants:
    1. Only what failed before the request left is `Refused` without an answer.
    2. No message names the address or the secret: addresses of webhooks often are secrets.
    3. Redirects are not followed; a connection is used once, because an idle one that the receiver
       closed could not be told from a lost answer.
"""

import asyncio
import base64
import binascii
import json
from http import HTTPStatus
from typing import Final, TypeGuard

import httpx
from pydantic import BaseModel
from standardwebhooks import Webhook

from activities.channels.channel import Ambiguous, MessageGone, Outgoing, Refused
from activities.clock import Clock, utc_now
from domain.channels import WebhookChannel

MAX_ID_CHARS: Final = 200
MAX_ANSWER_BYTES: Final = 64 * 1024
SECRET_PREFIX: Final = "whsec_"
# Raised before anything of the request was written.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
# Said by a proxy that has passed the request on, and does not know what became of it.
_SAID_BETWEEN: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_ID_HEADERS: Final = ("webhook-id", "x-message-id")


class _Answer(BaseModel):
    """What is read of a receiver's answer."""

    id: str


class WebhookSender:
    """Posts `{key, run_id, part, text, target, reply_to, audio_as_voice}`."""

    threads = True
    # The receiver decides: it is told what the model wanted.
    speaks = True

    def __init__(
        self, spec: WebhookChannel, client: httpx.AsyncClient, clock: Clock = utc_now
    ) -> None:
        """Prepare the signature.

        Args:
            spec: The channel, its secret resolved.
            client: Stays its owner's.
            clock: For `webhook-timestamp`.

        Raises:
            ValueError: The secret is not base64.
        """
        self.deduplicates = spec.deduplicates
        self.retry_seconds = spec.retry_seconds
        self._url = spec.url
        self._timeout = spec.timeout_seconds
        self._client = client
        self._clock = clock
        self._signer = Webhook(_secret_bytes(spec.secret.get_secret_value()))

    async def send(self, message: Outgoing) -> str:
        """Post the text; the id is the receiver's, else the key."""
        content = {
            "key": message.key,
            "run_id": message.run_id,
            "part": message.part,
            "text": message.text,
            "target": message.route.receive_id,
            "reply_to": message.reply_to,
            "audio_as_voice": message.audio_as_voice,
        }
        request = self._request(message.key, json.dumps(content))
        try:
            # The client's timeouts are for each step; this one ends an answer that trickles.
            async with asyncio.timeout(3 * self._timeout):
                response = await self._client.send(request, stream=True, follow_redirects=False)
        except _NOT_SENT as error:
            raise Refused(f"the receiver cannot be reached ({type(error).__name__})") from None
        except (httpx.TransportError, TimeoutError) as error:
            raise Ambiguous(
                f"the receiver gave no answer ({type(error).__name__}); the text may have arrived"
            ) from None
        try:
            if response.status_code == HTTPStatus.GONE and message.reply_to:
                raise MessageGone("the message to reply to is gone")
            if response.status_code in _SAID_BETWEEN:
                raise Ambiguous(
                    f"something before the receiver answered HTTP {response.status_code}; the "
                    "text may have arrived"
                )
            if not response.is_success:
                raise Refused(f"the receiver answered HTTP {response.status_code}")
            return await self._message_id(response) or message.key
        finally:
            await response.aclose()

    def _request(self, key: str, body: str) -> httpx.Request:
        now = self._clock()
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(key, now, body),
        }
        try:
            return self._client.build_request(
                "POST", self._url, content=body, headers=headers, timeout=self._timeout
            )
        except (httpx.InvalidURL, ValueError):
            raise Refused("the channel's address is not valid", retryable=False) from None

    async def _message_id(self, response: httpx.Response) -> str | None:
        """What the receiver calls the text it accepted."""
        for name in _ID_HEADERS:
            if _is_id(found := response.headers.get(name)):
                return found
        try:
            async with asyncio.timeout(self._timeout):
                found = _Answer.model_validate_json(await _body(response)).id
        except (httpx.HTTPError, TimeoutError, ValueError):
            # The text was accepted; what else the receiver had to say is of no consequence.
            return None
        return found if _is_id(found) else None


async def _body(response: httpx.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError("too long to be an answer with an id")
    return body


def _is_id(found: object) -> TypeGuard[str]:
    return isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARS and found.isprintable()


def _secret_bytes(secret: str) -> bytes:
    try:
        text = secret.removeprefix(SECRET_PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("the secret of a webhook channel must be `whsec_` and base64")
    return key
