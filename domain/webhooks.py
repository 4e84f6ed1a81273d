"""Deliveries to a webhook: whether one is signed by who knows the secret, and which one it is.

Owns the four signature schemes, and the id by which a repeated delivery is known. Resolving
secrets is the API process', their forms `domain.webhook_secrets`'. Source: triggers-and-actions.md
§3 and §14.

Invariants:
    1. A delivery is judged by one scheme only: a failing signature never falls back to another.
    2. Without a secret nothing is accepted unless the trigger allows unsigned deliveries; with a
       secret that permission changes nothing.
    3. Signatures are compared in constant time, as the exact text the sender had to write.
    4. A header that was sent twice counts as both values joined (RFC 9110 §5.3), never as the one
       that fits.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.runs import hex32
from domain.trigger_models import WebhookScheme
from domain.webhook_secrets import KEY_PREFIX

TOLERANCE_SECONDS: Final = 300
MAX_DELIVERY_ID_CHARS: Final = 255
UNSIGNED: Final = "unsigned"

_ID_HEADERS: Final = ("webhook-id", "x-github-delivery", "idempotency-key")
_INTEGER: Final = re.compile(r"-?[0-9]+", re.ASCII)
# More digits than any clock has; Python refuses to read thousands of them.
_MAX_TIME_DIGITS: Final = 18


class VerifyReason(StrEnum):
    """Why a delivery is not accepted."""

    MISSING_SIGNATURE = "missing_signature"
    INCOMPLETE_HEADERS = "incomplete_headers"
    BAD_TIMESTAMP = "bad_timestamp"
    STALE_TIMESTAMP = "stale_timestamp"
    BAD_SIGNATURE = "bad_signature"
    NO_SECRET = "no_secret"


class Verification(BaseModel):
    """The judgement on a delivery.

    `scheme` is null if none was recognised and `unsigned` if none was needed; `reason` is null
    when the delivery is accepted.
    """

    model_config = ConfigDict(frozen=True)

    ok: bool
    scheme: str | None = None
    reason: VerifyReason | None = None


class DeliveryId(BaseModel):
    """Which delivery it is; `source` is the header that said so, or `body`."""

    model_config = ConfigDict(frozen=True)

    delivery_id: str
    source: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class _Scheme:
    """Where a scheme puts its parts; every header in `signed` stands before the body."""

    signature: str
    prefix: str
    signed: tuple[str, ...] = ()
    timestamp: str = ""


# In the order in which `auto` tries them.
_SCHEMES: Final = {
    WebhookScheme.STANDARD: _Scheme(
        "webhook-signature", "v1,", ("webhook-id", "webhook-timestamp"), "webhook-timestamp"
    ),
    WebhookScheme.SLACK: _Scheme(
        "x-slack-signature", "v0=", ("x-slack-request-timestamp",), "x-slack-request-timestamp"
    ),
    WebhookScheme.GITHUB: _Scheme("x-hub-signature-256", "sha256="),
    WebhookScheme.GENERIC: _Scheme("x-signature-256", "sha256="),
}


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: str | bytes,
    now: datetime,
    scheme: WebhookScheme = WebhookScheme.AUTO,
    tolerance_seconds: int = TOLERANCE_SECONDS,
    allow_unsigned: bool = False,
) -> Verification:
    """Judge a delivery.

    Args:
        secrets: The trigger's secrets as texts, any of which may have signed; blank ones are none.
        headers: The request's headers, names in any case.
        body: The body as it came.
        now: When it came.
        scheme: How it has to be signed; `auto` takes the first scheme whose header is there.
        tolerance_seconds: How far a timestamp may be from now, either way.
        allow_unsigned: Accept everything, if there is no secret.

    Returns:
        The judgement, with the first reason against it.

    Raises:
        DomainError: `invalid_field` on `scheme` when it is none of the five.
    """
    given = _by_name(headers)
    found = _find_scheme(scheme, given)
    keys = [secret for secret in secrets if secret.strip()]
    if not keys:
        if allow_unsigned:
            return Verification(ok=True, scheme=UNSIGNED)
        return Verification(ok=False, reason=VerifyReason.NO_SECRET)
    if found is None:
        return Verification(ok=False, reason=VerifyReason.MISSING_SIGNATURE)
    reason = _why_not(found, keys, given, _bytes(body), now, tolerance_seconds)
    return Verification(ok=reason is None, scheme=found, reason=reason)


def delivery_id(path: str, headers: Mapping[str, str], body: str | bytes) -> DeliveryId:
    """Tell which delivery it is.

    Args:
        path: The webhook's path.
        headers: The request's headers, names in any case.
        body: The body as it came.

    Returns:
        The id of the first header that has one (trimmed, at most 255 characters); without one it is
        derived from path and body, so that a resend has the same.
    """
    content = _bytes(body)
    digest = hashlib.sha256(content).hexdigest()
    given = _by_name(headers)
    for name in _ID_HEADERS:
        if 0 < len(value := given.get(name, "")) <= MAX_DELIVERY_ID_CHARS:
            return DeliveryId(delivery_id=value, source=name, body_sha256=digest)
    derived = hashlib.sha256(_bytes(path) + b"\n" + content).hexdigest()
    return DeliveryId(delivery_id=f"sha256:{derived}", source="body", body_sha256=digest)


def run_workflow_suffix(delivery_id: str) -> str:
    """`d-<32 hex>`: the occurrence a delivery starts; without an id of its own add `-<ULID>`."""
    return f"d-{hex32(delivery_id)}"


def _find_scheme(scheme: WebhookScheme, given: Mapping[str, str]) -> WebhookScheme | None:
    if scheme == WebhookScheme.AUTO:
        present = (name for name, parts in _SCHEMES.items() if parts.signature in given)
        return next(present, None)
    if scheme not in _SCHEMES:
        accepted = [*WebhookScheme]
        message = f"scheme must be one of {', '.join(accepted)}, not {scheme!r}"
        raise DomainError(ErrorKind.INVALID_FIELD, "scheme", message, accepted)
    return WebhookScheme(scheme)


def _why_not(
    scheme: WebhookScheme,
    secrets: Sequence[str],
    given: Mapping[str, str],
    body: bytes,
    now: datetime,
    tolerance_seconds: int,
) -> VerifyReason | None:
    parts = _SCHEMES[scheme]
    if parts.signature not in given:
        return VerifyReason.MISSING_SIGNATURE
    values = [given.get(name, "") for name in parts.signed]
    if not all(values):
        return VerifyReason.INCOMPLETE_HEADERS
    if parts.timestamp:
        reason = _why_untimely(given[parts.timestamp], now, tolerance_seconds)
        if reason is not None:
            return reason
    shown = list(_signatures(scheme, given[parts.signature]))
    text = _signed_text(scheme, values, body)
    for secret in secrets:
        wanted = _sign(scheme, secret, text)
        if wanted is not None and any(hmac.compare_digest(wanted, one) for one in shown):
            return None
    return VerifyReason.BAD_SIGNATURE


def _why_untimely(text: str, now: datetime, tolerance_seconds: int) -> VerifyReason | None:
    if not _INTEGER.fullmatch(text):
        return VerifyReason.BAD_TIMESTAMP
    if len(text) > _MAX_TIME_DIGITS or abs(now.timestamp() - int(text)) > tolerance_seconds:
        return VerifyReason.STALE_TIMESTAMP
    return None


def _signatures(scheme: WebhookScheme, header: str) -> Iterator[bytes]:
    """The signatures of a header that have the scheme's prefix, without it, in normal form."""
    prefix = _SCHEMES[scheme].prefix
    standard = scheme == WebhookScheme.STANDARD
    for item in header.split() if standard else [header]:
        if item.startswith(prefix):
            signature = item.removeprefix(prefix)
            yield _bytes(signature if standard else signature.lower())


def _signed_text(scheme: WebhookScheme, values: Sequence[str], body: bytes) -> bytes:
    before = [_bytes(value) for value in values]
    if scheme == WebhookScheme.SLACK:
        return b":".join([b"v0", *before, body])
    return b".".join([*before, body])


def _sign(scheme: WebhookScheme, secret: str, text: bytes) -> bytes | None:
    """What a sender with that secret writes after the prefix; null when it is no usable key."""
    if scheme != WebhookScheme.STANDARD:
        return hmac.new(_bytes(secret), text, hashlib.sha256).hexdigest().encode()
    key = _standard_key(secret)
    return base64.b64encode(hmac.digest(key, text, hashlib.sha256)) if key else None


def _standard_key(secret: str) -> bytes | None:
    if not secret.startswith(KEY_PREFIX):
        return _bytes(secret)
    encoded = secret.removeprefix(KEY_PREFIX)
    try:
        # Some senders show their keys without padding.
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _by_name(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name, values trimmed."""
    given: dict[str, str] = {}
    for name, value in headers.items():
        key, trimmed = name.strip().lower(), value.strip()
        given[key] = f"{given[key]}, {trimmed}" if key in given else trimmed
    return given


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
