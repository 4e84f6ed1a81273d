"""The payload codec: what it hides, which keys read it, and what it lets through."""

import base64

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter

from client.codec import ENCODING, KEY_ID, PayloadEncryption, payload_codec
from client.sealing import Keyring, key_id_of
from client.settings import Settings
from tests.support.routines import assert_refused, refusal

OLD, NEW = b"o" * 32, b"n" * 32
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"words of a user"')


def codec(*keys: bytes) -> PayloadEncryption:
    return PayloadEncryption(Keyring(keys))


async def test_a_payload_comes_back_as_it_was() -> None:
    payloads = [PLAIN, Payload(), Payload(data=b"x" * 100_000)]
    encoded = await codec(NEW).encode(payloads)
    assert [dict(item.metadata) for item in encoded] == [
        {"encoding": ENCODING, KEY_ID: key_id_of(NEW).encode()}
    ] * 3
    assert not any(b"words" in item.SerializeToString() for item in encoded)
    assert await codec(NEW).decode(encoded) == payloads
    assert (await codec(NEW).encode([PLAIN]))[0].data != encoded[0].data


async def test_old_keys_and_payloads_in_clear_are_read() -> None:
    old = await codec(OLD).encode([PLAIN])
    assert await codec(NEW, OLD).decode([*old, PLAIN]) == [PLAIN, PLAIN]
    fresh = await codec(NEW, OLD).encode([PLAIN])
    assert fresh[0].metadata[KEY_ID] == key_id_of(NEW).encode()


async def test_what_no_key_reads_is_an_error() -> None:
    (encoded,) = await codec(OLD).encode([PLAIN])
    changed = Payload(metadata=encoded.metadata, data=encoded.data[:-1] + b"\0")
    unnamed = Payload(metadata={"encoding": ENCODING}, data=encoded.data)
    for one, keys in ((encoded, NEW), (changed, OLD), (unnamed, OLD)):
        with pytest.raises(ValueError, match="codec_key"):
            await codec(keys).decode([one])


def test_it_is_made_by_the_settings() -> None:
    assert payload_codec(Settings(), {}) is None
    settings = Settings(codec_key=SecretStr("env:CODEC"))
    key = base64.b64encode(NEW).decode()
    assert isinstance(payload_codec(settings, {"CODEC": key}), PayloadEncryption)
    error = refusal(lambda: payload_codec(settings, {"CODEC": "short"}))
    assert_refused(error, "invalid_field", "codec_key", "32")
    assert_refused(refusal(lambda: payload_codec(settings, {})), "missing_field", "codec_key")
    assert pydantic_data_converter.payload_codec is None
