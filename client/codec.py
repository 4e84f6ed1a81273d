"""Encryption of payloads: what the Temporal server keeps and the Temporal UI shows.

Owns the codec (AES-256-GCM over every whole payload) and the name it gives in its metadata. The
keys' form is `client.sealing`'s, the endpoint through which the UI decodes is the gateway's. Ids,
search attributes, and the names of workflows and activities are no payloads and stay in clear.
Source: DESIGN §7.

Invariants:
    1. The first key encrypts; every key that is still listed decrypts.
    2. A payload from before there was a key is read as it is, so that a key can be introduced.
    3. Without the right key nothing is decoded, and that is told; nothing is passed on encrypted.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from client.sealing import Keyring, NotOpened, parse_keys
from client.settings import Settings, resolve_secret

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"

_BOUND_TO: Final = b"tickless payload"


class PayloadEncryption(PayloadCodec):
    """Encrypts and decrypts payloads with the keys of a deployment."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads encrypted, metadata included."""
        return [
            Payload(
                metadata={"encoding": ENCODING, KEY_ID: self._keyring.key_id.encode()},
                data=self._keyring.encrypt(payload.SerializeToString(), _BOUND_TO),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as they were encoded; those that are not encrypted as they are.

        Raises:
            ValueError: A payload that none of the keys decrypts.
        """
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID, b"").decode("ascii", "replace")
        try:
            data = self._keyring.decrypt(key_id, payload.data, _BOUND_TO)
        except NotOpened:
            raise ValueError(
                f"a payload was encrypted with the key {key_id!r}, which codec_key does not list, "
                "or it was changed"
            ) from None
        return Payload.FromString(data)


def payload_codec(settings: Settings, environ: Mapping[str, str]) -> PayloadEncryption | None:
    """The codec that the settings ask for; null where payloads stay in clear.

    Args:
        settings: All settings.
        environ: Where an `env:` reference is looked up.

    Raises:
        DomainError: `invalid_field` or `missing_field` on `codec_key`.
    """
    if settings.codec_key is None:
        return None
    text = resolve_secret(settings.codec_key, environ, "codec_key")
    return PayloadEncryption(parse_keys(text, "codec_key"))
