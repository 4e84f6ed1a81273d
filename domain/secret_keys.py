"""Names under which secrets are kept: is `dbPassword`, `X-Api-Key` or `token_count` one of them?

Owns the words that tell. What is done with the value is `domain.redaction`'s.
Source: triggers-and-actions.md §7.

Invariant: what counts or limits something is no secret, whatever it counts.
"""

import re
from itertools import pairwise
from typing import Final

# Between a small letter or digit and a capital, and before the last capital of an acronym that
# goes on in small letters: `accessKey`, `APIKey`.
_CAMEL_EDGE = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])")
_WORD = re.compile(r"[^\W_]+")
_DIGITS: Final = "0123456789"

_SECRET_WORDS: Final = frozenset(
    {"password", "passwd", "pwd", "passphrase", "secret", "secrets", "token", "authorization"}
    | {"cookie", "cookies", "credential", "credentials", "apikey", "apisecret", "jwt", "bearer"}
)
_SECRET_ENDINGS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
)
_KEY_OF: Final = frozenset(
    {"api", "private", "access", "signing", "encryption", "session", "auth", "ssh"}
)
_TOKENS_OF: Final = frozenset(
    {"access", "refresh", "auth", "session", "api", "id", "bearer", "csrf"}
)
_MEASURES: Final = frozenset(
    {"count", "counts", "limit", "limits", "budget", "usage", "used", "type", "max", "min"}
    | {"total", "expiry", "expires", "length", "size", "policy"}
)
_FIRST_MEASURES: Final = frozenset({"max", "min", "num", "total"})


def is_sensitive_key(key: str) -> bool:
    """Whether the value under a key is a secret, judged by the words of the key.

    Args:
        key: In any spelling: `api_key`, `apiKey`, `API-KEY`, `api.key2`.
    """
    words = _words(key)
    if not words or words[-1] in _MEASURES:
        return False
    if words[0] in _FIRST_MEASURES and "token" in words:
        return False
    return any(map(_is_secret, [*words, "".join(words)])) or any(
        map(_is_secret_pair, pairwise(words))
    )


def _words(key: str) -> list[str]:
    split = _WORD.findall(_CAMEL_EDGE.sub(" ", key))
    return [bare for word in split if (bare := word.lower().rstrip(_DIGITS))]


def _is_secret(word: str) -> bool:
    return word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS)


def _is_secret_pair(pair: tuple[str, str]) -> bool:
    first, second = pair
    match second:
        case "key":
            return first in _KEY_OF
        case "tokens":
            return first in _TOKENS_OF
        case "id":
            return first == "session"
        case _:
            return False
