"""Sealing of literal secrets: what reaches Temporal or the store can be opened here only.

Owns the form of a sealed text and of the keys (AES-256-GCM), rotation, and the key file that the
dev stack makes. Which values are secrets is `domain.webhook_secrets`'. Source:
triggers-and-actions.md §3, DESIGN §7.

Invariants:
    1. A text that was sealed for one owner opens for no other.
    2. The first key seals; every key that is still listed opens.
    3. No error holds a key, a literal, or a part of one.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from domain.errors import DomainError, ErrorKind

KEY_BYTES: Final = 32
KEY_FILE: Final = "sealing.key"
MAX_KEYS: Final = 8

_VERSION: Final = "v1"
_NONCE_BYTES: Final = 12
_KEY_ID_CHARS: Final = 8
_SEPARATORS: Final = re.compile(r"[\s,]+")
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


class NotOpened(Exception):
    """A sealed text that none of the keys opens, for this owner."""


@dataclass(frozen=True)
class Keyring:
    """The keys of a deployment: the first seals, all open."""

    keys: Sequence[bytes] = field(repr=False)

    def encrypt(self, data: bytes, bound_to: bytes) -> bytes:
        """Nonce and ciphertext under the first key, with what it is bound to authenticated."""
        # Loading it takes longer than all else a command does, and few commands seal.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.keys[0]).encrypt(nonce, data, bound_to)

    def decrypt(self, key_id: str, data: bytes, bound_to: bytes) -> bytes:
        """What was encrypted.

        Raises:
            NotOpened: The key is not listed, or the data was changed or bound to something else.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        for key in self.keys:
            if hmac.compare_digest(key_id_of(key), key_id):
                try:
                    return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound_to)
                except (InvalidTag, ValueError) as error:
                    raise NotOpened from error
        raise NotOpened

    @property
    def key_id(self) -> str:
        """The name of the key that seals; tells nothing of the key."""
        return key_id_of(self.keys[0])


class Sealing:
    """Seals and opens texts; its keys are read when the first one is needed."""

    def __init__(self, read_keys: Callable[[], Keyring | None]) -> None:
        """A sealing.

        Args:
            read_keys: Reads the keys; null where the deployment has none. May raise `DomainError`.
        """
        self._read_keys = read_keys

    @cached_property
    def _keyring(self) -> Keyring | None:
        return self._read_keys()

    @property
    def available(self) -> bool:
        """Whether there is a key."""
        return self._keyring is not None

    def seal(self, literal: str, owner: str) -> str:
        """The literal as it may be stored.

        Args:
            literal: A secret.
            owner: What it belongs to, such as a routine's id.

        Raises:
            DomainError: `invalid_field` on `trigger.secret` without a key.
        """
        keyring = self._needed()
        sealed = keyring.encrypt(literal.encode(), _bound_to(owner))
        text = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        return f"{_VERSION}.{keyring.key_id}.{text}"

    def open(self, sealed: str, owner: str) -> str:
        """The literal behind a sealed text.

        Raises:
            NotOpened: There is no key for it, or it is not as it was sealed for this owner.
        """
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        if self._keyring is None or version != _VERSION:
            raise NotOpened
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError) as error:
            raise NotOpened from error
        return self._keyring.decrypt(key_id, data, _bound_to(owner)).decode()

    def fingerprint(self, literal: str, owner: str) -> str:
        """Tells equal literals of one owner, and nothing else, to whoever has no key.

        Raises:
            DomainError: As `seal`.
        """
        key = hmac.digest(self._needed().keys[0], b"tickless fingerprint", hashlib.sha256)
        return hmac.new(
            key, _bound_to(owner) + b"\n" + literal.encode(), hashlib.sha256
        ).hexdigest()

    def _needed(self) -> Keyring:
        if self._keyring is None:
            accepted = ['{"env": NAME}', '{"file": ABSOLUTE_PATH}']
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "trigger.secret",
                "trigger.secret cannot be a literal, because this deployment has no sealing_key to "
                f"encrypt it with; accepted: {', '.join(accepted)}",
                accepted,
            )
        return self._keyring


def parse_keys(text: str, field: str) -> Keyring:
    """Read keys: each 32 bytes in base64 or 64 hex digits, between blanks, commas or lines.

    Args:
        text: The keys, the one that seals first.
        field: Name of the setting, for the error.

    Raises:
        DomainError: `invalid_field` on the field.
    """
    keys = [_parse_key(item) for item in _SEPARATORS.split(text.strip()) if item]
    found = [key for key in keys if key is not None]
    if not 1 <= len(keys) <= MAX_KEYS or len(found) < len(keys):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            field,
            f"{field} must hold 1 to {MAX_KEYS} keys, the one that seals first, each {KEY_BYTES} "
            f"random bytes in base64 or hex: `openssl rand -base64 {KEY_BYTES}` makes one",
        )
    return Keyring(found)


def create_key_file(path: Path) -> bool:
    """Make a file with a new key that only its owner can read; one that exists is left alone.

    Returns:
        Whether it was made.

    Raises:
        DomainError: `unavailable` on `sealing_key` where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nobody but its owner can read what this makes.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # Unlike a rename, this never replaces the key that another process has just made.
                os.link(name, path)
            except FileExistsError:
                return False
        finally:
            os.unlink(name)
    except OSError as error:
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            "sealing_key",
            f"sealing_key: cannot write {str(path)!r}: {error.strerror}",
        ) from error
    return True


def key_id_of(key: bytes) -> str:
    """The name of a key."""
    return hashlib.sha256(b"tickless key id\n" + key).hexdigest()[:_KEY_ID_CHARS]


def _parse_key(text: str) -> bytes | None:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _bound_to(owner: str) -> bytes:
    return f"tickless webhook secret\n{owner}".encode()
