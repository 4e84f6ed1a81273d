"""Bearer tokens of the gateway: made, listed and revoked at the command line, checked per request.

Owns the file of tokens: its form, its safe change by several processes at once, and the check of a
token that somebody shows. What a scope allows is the gateway's. Source: DESIGN §7.

A secret is 256 bits from the system's generator, so its plain sha256 is enough: slow hashes defend
what people choose and others can guess, and would only let anybody burn our time here.

Invariants:
    1. The secret is told once, to whoever creates the token; the file holds its digest.
    2. The file is replaced as a whole, mode 600: whoever reads sees the one before or the one
       after. Who changes it holds the lock beside it.
    3. A file that cannot be trusted (unreadable, damaged, writable by others) admits nobody.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from activities.file_locks import FileLockTimeout, locked
from client.context import CallerContext
from domain.errors import DomainError, ErrorKind
from domain.fields import shown

# What secrets begin with, so that people and scanners recognise one that leaked.
PREFIX: Final = "tickless_"
FIELD: Final = "gateway.tokens_file"

_LOCK_PATIENCE = timedelta(seconds=10)
_SECRET_BYTES = 32
_ID_BYTES = 6
_MAX_TOKENS = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_LIFETIME = re.compile(r"([1-9]\d{0,8})([smhd])", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=36_500)
_NO_DIGEST = "0" * 64


class TokenScope(StrEnum):
    """What a token allows; `admin` allows the others too."""

    READ = "read"
    RUN = "run"
    APPROVE = "approve"
    ADMIN = "admin"


class Token(BaseModel):
    """A token without its secret.

    `context` are the names of the caller's context that the token fixes; whoever uses it cannot
    give others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    scopes: list[TokenScope]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    context: dict[str, str] = {}

    def allows(self, scope: TokenScope) -> bool:
        """Whether it may be used for what needs a scope."""
        return scope in self.scopes or TokenScope.ADMIN in self.scopes

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


class CreatedToken(Token):
    """A new token with its secret, to be shown this once."""

    token: str


class _StoredToken(Token):
    sha256: str


class _TokenDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = 1
    tokens: list[_StoredToken] = []


class TokenFile:
    """The tokens of one file; reading notices at once what other processes changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: list[_StoredToken] = []

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        now: datetime,
        lifetime: timedelta | None = None,
        context: Mapping[str, str] | None = None,
    ) -> CreatedToken:
        """Make a token.

        Args:
            name: How people call it.
            scopes: At least one.
            now: The time of its making.
            lifetime: After which it is no longer accepted; null is for ever.
            context: Names of the caller's context that it fixes.

        Raises:
            DomainError: What is wrong with the values; `conflict` on `name` when it is taken;
                `unavailable` where nothing can be written.
        """
        stored, secret = _new_token(name, scopes, now, lifetime, context or {})
        with self._changing() as tokens:
            tokens[:] = [token for token in tokens if not token.expired(now)]
            if any(token.name == stored.name for token in tokens):
                raise DomainError(
                    ErrorKind.CONFLICT,
                    "name",
                    f"name {stored.name!r} is taken by another token; revoke that one first, or "
                    "choose another name",
                )
            if len(tokens) >= _MAX_TOKENS:
                raise DomainError(
                    ErrorKind.CONFLICT, "name", f"there are {_MAX_TOKENS} tokens: revoke some first"
                )
            tokens.append(stored)
        return CreatedToken(**_public(stored).model_dump(), token=secret)

    def all(self) -> list[Token]:
        """All tokens, also expired ones, the oldest first."""
        return [_public(token) for token in self._read()]

    def revoke(self, id_or_name: str) -> Token:
        """Take a token away; who uses it is refused from the next request on.

        Raises:
            DomainError: `not_found` on `id`.
        """
        with self._changing() as tokens:
            for index, token in enumerate(tokens):
                if id_or_name in {token.id, token.name}:
                    return _public(tokens.pop(index))
        raise DomainError(ErrorKind.NOT_FOUND, "id", id_or_name)

    def check(self, secret: str, now: datetime) -> Token | None:
        """The token of a secret, null when it is none that is accepted now."""
        parts = secret.removeprefix(PREFIX).partition("_")
        known = {token.id: token for token in self._read()}
        token = known.get(parts[0]) if secret.startswith(PREFIX) else None
        # A comparison is made in any case, and takes the same time wherever the two differ.
        same = hmac.compare_digest(token.sha256 if token else _NO_DIGEST, _digest(secret))
        return _public(token) if token and same and not token.expired(now) else None

    # Inside

    def _read(self) -> list[_StoredToken]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._distrust(f"cannot be read: {error.strerror}") from error
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._distrust("may be written by others: chmod 600 it, and look what is in it")
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._seen:
            self._tokens, self._seen = self._load(), version
        return self._tokens

    def _load(self) -> list[_StoredToken]:
        try:
            text = self._path.read_bytes()
            return _TokenDocument.model_validate_json(text).tokens
        except OSError as error:
            raise self._distrust(f"cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise self._distrust("is damaged: move it away and create tokens anew") from error

    def _distrust(self, why: str) -> DomainError:
        return DomainError(ErrorKind.UNAVAILABLE, FIELD, f"{FIELD}: {self._path} {why}")

    @contextmanager
    def _changing(self) -> Generator[list[_StoredToken]]:
        """The tokens, to be changed; written when the block ends without an error."""
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("a", encoding="ascii") as file, locked(file, _LOCK_PATIENCE):
                tokens = list(self._read())
                before = list(tokens)
                yield tokens
                if tokens != before:
                    _replace(self._path, _TokenDocument(tokens=tokens).model_dump_json(indent=2))
        except FileLockTimeout as error:
            raise DomainError(ErrorKind.UNAVAILABLE, FIELD, f"{FIELD}: {error}") from error
        except OSError as error:
            raise DomainError(
                ErrorKind.UNAVAILABLE,
                FIELD,
                f"{FIELD}: cannot write {error.filename}: {error.strerror}",
            ) from error


def ensure_token_in_file(tokens: TokenFile, file: Path, name: str, now: datetime) -> str:
    """A token with all scopes whose secret is kept in a file of mode 600, for one machine's use.

    Args:
        tokens: Where it is registered.
        file: Keeps the secret; made anew when it holds none that is accepted.
        name: How the token is called.
        now: The present time.

    Returns:
        The secret.

    Raises:
        DomainError: `unavailable` where nothing can be written.
    """
    try:
        kept = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        kept = ""
    if kept and tokens.check(kept, now) is not None:
        return kept
    for token in tokens.all():
        if token.name == name:
            tokens.revoke(token.id)
    made = tokens.create(name, [TokenScope.ADMIN], now=now)
    try:
        _replace(file, made.token + "\n")
    except OSError as error:
        raise DomainError(
            ErrorKind.UNAVAILABLE, FIELD, f"cannot write {error.filename}: {error.strerror}"
        ) from error
    return made.token


def parse_lifetime(text: str) -> timedelta:
    """How long a token lives: `30d`, `12h`.

    Raises:
        DomainError: `invalid_field` on `expires`.
    """
    match = _LIFETIME.fullmatch(text.strip())
    lifetime = timedelta(seconds=int(match[1]) * _UNIT_SECONDS[match[2]]) if match else None
    if lifetime is None or lifetime > _LONGEST:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "expires",
            f"expires must be a whole number and a unit (s, m, h or d) such as 30d, at most "
            f"{_LONGEST.days}d, not {text!r}",
            ["12h", "30d"],
        )
    return lifetime


def _new_token(
    name: str,
    scopes: Iterable[str],
    now: datetime,
    lifetime: timedelta | None,
    context: Mapping[str, str],
) -> tuple[_StoredToken, str]:
    token_id = secrets.token_hex(_ID_BYTES)
    secret = f"{PREFIX}{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    stored = _StoredToken(
        id=token_id,
        name=_checked_name(name),
        scopes=_checked_scopes(scopes),
        created_at=now.astimezone(UTC).replace(microsecond=0),
        expires_at=now + lifetime if lifetime else None,
        context=_checked_context(context),
        sha256=_digest(secret),
    )
    return stored, secret


def _checked_name(name: str) -> str:
    if not name.strip():
        raise DomainError(ErrorKind.MISSING_FIELD, "name", "name is required, such as ci or phone")
    if not _NAME.fullmatch(name.strip()):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "name",
            "name must have 1 to 63 of letters, digits and . _ @ -, beginning with a letter or "
            f"digit, not {shown(name)}",
        )
    return name.strip()


def _checked_scopes(scopes: Iterable[str]) -> list[TokenScope]:
    given = [scope.strip().lower() for scope in scopes]
    accepted = [str(scope) for scope in TokenScope]
    if not any(given):
        raise DomainError(
            ErrorKind.MISSING_FIELD,
            "scope",
            f"scope is required, at least one of {', '.join(accepted)}",
            accepted,
        )
    for scope in given:
        if scope not in accepted:
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "scope",
                f"scope must be one of {', '.join(accepted)}, not {shown(scope)}",
                accepted,
            )
    return [scope for scope in TokenScope if scope in given]


def _checked_context(context: Mapping[str, str]) -> dict[str, str]:
    accepted = list(CallerContext.model_fields)
    for name in context:
        if name not in accepted:
            raise DomainError(
                ErrorKind.UNKNOWN_FIELD,
                f"context.{name}",
                f"context.{name} is not known; accepted: {', '.join(accepted)}",
                accepted,
            )
    return {name: value.strip() for name, value in context.items() if value.strip()}


def _public(token: _StoredToken) -> Token:
    return Token(**token.model_dump(exclude={"sha256"}))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _replace(path: Path, text: str) -> None:
    """Write a file of mode 600 in one step; what was in it before stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
