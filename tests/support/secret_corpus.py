"""Secrets by the hundred, each in the surroundings in which it would be met.

`CORPUS` is the same in every process: forms that are known by themselves, and values that only
their surroundings give away. `Planted.text` is what a tool or a model would write, `secret` the
part of it that nobody may see.
"""

import base64
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

_RANDOM = random.Random(20261121)
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Planted:
    """A secret in its surroundings."""

    kind: str
    text: str
    secret: str


def _letters(length: int, alphabet: str = _LETTERS) -> str:
    return "".join(_RANDOM.choices(alphabet, k=length))


def _jwt() -> str:
    parts = [base64.urlsafe_b64encode(f'{{"x":"{_letters(20)}"}}'.encode()).decode().rstrip("=")]
    return ".".join([*parts, *parts, _letters(43)])


def _pem() -> str:
    body = "\n".join(_letters(64) for _ in range(3))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


# What is known by its form alone.
_FORMS: dict[str, Callable[[], str]] = {
    "openai": lambda: f"sk-{_letters(32)}",
    "aws": lambda: f"AKIA{_letters(16, string.ascii_uppercase + string.digits)}",
    "github": lambda: f"ghp_{_letters(36)}",
    "github fine": lambda: f"github_pat_{_letters(60)}",
    "slack": lambda: f"xoxb-{_letters(12, string.digits)}-{_letters(24)}",
    "google": lambda: f"AIza{_letters(35)}",
    "webhook": lambda: f"whsec_{_letters(32)}",
    "jwt": _jwt,
    "pem": _pem,
}
# Where such a thing stands.
_PLACES: tuple[str, ...] = (
    "{}",
    "use {} for it",
    "export KEY='{}'",
    '["{}"]',
    "line one\nline {} two\n",
    "https://api.example.com/v1?x={}",
)
# What only its surroundings give away.
_SURROUNDED: dict[str, str] = {
    "password": "password={}",
    "json": '{{"api_key": "{}", "user": "me"}}',
    "nested json": '{{"auth": {{"client_secret": "{}"}}}}',
    "setting": "db_password={}",
    "environment": "DATABASE_PASSWORD={} ./run",
    "header": "Authorization: Basic {}",
    "cookie": "Cookie: sid={}",
    "bearer": "curl -H 'X: Bearer {}'",
    "url": "postgresql://me:{}@db.example.com/x",
    "access token": "access_token={}&user=me",
    "secret key": "aws_secret_access_key={}",
    "passphrase": '"passphrase": "{}"',
}


def _corpus() -> list[Planted]:
    found: list[Planted] = []
    for kind, make in _FORMS.items():
        for place in _PLACES:
            for _ in range(3):
                secret = make()
                # Of a block the first line of what it hides is enough to look for.
                hidden = secret.split("\n")[1] if kind == "pem" else secret
                found.append(Planted(kind, place.format(secret), hidden))
    for kind, form in _SURROUNDED.items():
        for _ in range(6):
            secret = _letters(24)
            found.append(Planted(kind, form.format(secret), secret))
    return found


CORPUS: list[Planted] = _corpus()


def leaks(text: str) -> list[str]:
    """The kinds of the secrets of the corpus that a text shows."""
    return [item.kind for item in CORPUS if item.secret in text]
