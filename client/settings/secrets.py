"""Secrets in settings: a literal, `env:NAME` or `file:/absolute/path`.

Owns reading what a reference points to, and hiding passwords in addresses. A reference is followed
when its value is handed to whoever needs it, so a command that needs no secret asks for none.
Source: DESIGN §7.

Invariant: no message holds a secret or a part of one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, SecretStr

from domain.errors import DomainError, ErrorKind

M = TypeVar("M", bound=BaseModel)

# Up to the last `@`: a password with an `@` of its own is hidden whole.
_PASSWORD = re.compile(r"(://[^/?#@:\s]*:)\S*@")
_PASSWORD_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&\s]*", re.IGNORECASE)
MASK = "**********"


def resolve_secret(secret: SecretStr, environ: Mapping[str, str], field: str) -> str:
    """The secret itself.

    Args:
        secret: A literal or a reference.
        environ: The variables that `env:` may name.
        field: Name of the setting, for the error.

    Returns:
        The literal, the variable's text, or the file's text without the line break at its end.

    Raises:
        DomainError: `missing_field` when a variable is not set or a file is empty; `invalid_field`
            when a reference has the wrong form or its file cannot be read.
    """
    kind, separator, target = secret.get_secret_value().partition(":")
    if separator and kind == "env":
        value = environ.get(target, "")
        reason = f"{field} refers to the environment variable {target!r}, which is not set or empty"
    elif separator and kind == "file":
        value = _file_text(target, field).rstrip("\r\n")
        reason = f"{field} refers to the file {target!r}, which is empty"
    else:
        return secret.get_secret_value()
    if not value:
        raise DomainError(ErrorKind.MISSING_FIELD, field, reason)
    return value


def resolve_secrets(model: M, environ: Mapping[str, str], field: str) -> M:
    """A copy of a model whose own secrets are all literals, such as a `ModelSpec` for the worker.

    Args:
        model: A model; secrets deeper in it are left as they are.
        environ: The variables that `env:` may name.
        field: Where the model stands in the settings, `models.0`, for the error.

    Raises:
        DomainError: As `resolve_secret`.
    """
    literals = {
        name: SecretStr(resolve_secret(value, environ, f"{field}.{name}"))
        for name in type(model).model_fields
        if isinstance(value := getattr(model, name), SecretStr)
    }
    return model.model_copy(update=literals)


def without_password(address: str) -> str:
    """An address with its password masked."""
    return _PASSWORD_PARAMETER.sub(rf"\1{MASK}", _PASSWORD.sub(rf"\1{MASK}@", address))


def _file_text(target: str, field: str) -> str:
    path = Path(target)
    if not path.is_absolute() or ".." in path.parts:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            field,
            f"{field} refers to the file {target!r}; `file:` takes an absolute path without `..`",
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DomainError(
            ErrorKind.INVALID_FIELD, field, f"{field}: the file {target!r} cannot be read: {why}"
        ) from error
