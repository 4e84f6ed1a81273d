"""The secret of a webhook: which forms it may take, and how none of them is ever shown.

Owns reading, hiding and keeping secrets, and the walk over their literals for whoever seals them.
Does not encrypt or resolve anything: the API process does. Source: triggers-and-actions.md §3.

Invariants:
    1. No error message and no public form quotes a literal.
    2. What is stored is a reference or a sealed literal; `{"set": true}` is never stored.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import cast

from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode
from domain.trigger_models import EnvSecret, FileSecret, HiddenSecret, SealedSecret, Secret

MIN_LITERAL_CHARS = 16
MAX_LITERAL_CHARS = 512
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
MAX_SECRETS = 3
KEY_PREFIX = "whsec_"

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS = (
    f"a text of {MIN_LITERAL_CHARS} to {MAX_LITERAL_CHARS} characters",
    f"{KEY_PREFIX} and base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes",
    '{"env": NAME}',
    '{"file": ABSOLUTE_PATH}',
    f"a list of 1 to {MAX_SECRETS} of these",
)

StoredSecret = Secret | list[Secret] | None


def read_secret(value: object, field: str = "trigger.secret") -> StoredSecret:
    """Read a secret.

    Args:
        value: What was given: a literal, a reference, a sealed literal, or a list of these.
        field: Name of the field, for errors.

    Returns:
        The secret in normal form; null when it is absent or blank.

    Raises:
        DomainError: `invalid_field` on `field` for any other form.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, list):
        return _read_one(value, field)
    items = cast("list[object]", value)
    if not 1 <= len(items) <= MAX_SECRETS:
        raise _invalid(field, f"must list 1 to {MAX_SECRETS} secrets, not {len(items)}")
    return [_read_one(item, field) for item in items]


def public_secret(secret: StoredSecret) -> StoredSecret:
    """The secret as records and logs may show it: references as they are, literals hidden."""
    return _each(secret, lambda one: one if isinstance(one, EnvSecret | FileSecret) else _HIDDEN)


def seal_literals(secret: StoredSecret, seal: Callable[[str], str]) -> StoredSecret:
    """The secret with every literal sealed, as it may be stored.

    Args:
        secret: What `read_secret` returned.
        seal: Encrypts a literal into a text.
    """
    return _each(
        secret, lambda one: SealedSecret(sealed=seal(one)) if isinstance(one, str) else one
    )


def keep_secret(trigger: Mapping[str, object], stored: StoredSecret) -> dict[str, object]:
    """A patch's trigger with each `{"set": true}` replaced by what is stored.

    Args:
        trigger: The trigger as it was given, not validated.
        stored: The secret of the present trigger; null when it has none or is no webhook.

    Returns:
        The trigger with `secret` as JSON; `{"set": true}` where nothing is stored in that place,
        which validation refuses.
    """
    given = trigger.get("secret")
    kept: object = given
    if _is_hidden(given):
        kept = _to_json(stored) if stored is not None else given
    elif isinstance(given, list):
        old = stored if isinstance(stored, list) else [stored] if stored is not None else []
        kept = [
            _to_json(old[place]) if _is_hidden(item) and place < len(old) else item
            for place, item in enumerate(cast("list[object]", given))
        ]
    return {**trigger, "secret": kept} if "secret" in trigger else dict(trigger)


def decode_key(literal: str) -> bytes | None:
    """The key behind a `whsec_` literal; null when it is not base64 of an allowed length."""
    try:
        key = base64.b64decode(literal.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES else None


_HIDDEN = HiddenSecret(set=True)


def _read_one(value: object, field: str) -> Secret:
    if isinstance(value, str):
        return _read_literal(value.strip(), field)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, object]", value)
        name, path, sealed = given.get("env"), given.get("file"), given.get("sealed")
        if len(given) == 1 and isinstance(name, str) and _ENV_NAME.fullmatch(name.strip()):
            return EnvSecret(env=name.strip())
        if len(given) == 1 and isinstance(path, str) and _is_absolute(path.strip()):
            return FileSecret(file=path.strip())
        if len(given) == 1 and isinstance(sealed, str) and sealed:
            return SealedSecret(sealed=sealed)
    raise _invalid(field, "is none of the accepted forms")


def _read_literal(literal: str, field: str) -> str:
    if not is_unicode(literal) or not MIN_LITERAL_CHARS <= len(literal) <= MAX_LITERAL_CHARS:
        raise _invalid(field, f"has {len(literal)} characters")
    if literal.startswith(KEY_PREFIX) and decode_key(literal) is None:
        raise _invalid(field, f"begins with {KEY_PREFIX} but is not base64 of an allowed length")
    return literal


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def _is_hidden(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    given = cast("Mapping[str, object]", value)
    return len(given) == 1 and given.get("set") is True


def _to_json(secret: object) -> object:
    """A stored secret as the JSON that `read_secret` takes."""
    if isinstance(secret, list):
        return [_to_json(item) for item in cast("list[object]", secret)]
    return secret if isinstance(secret, str) else cast("EnvSecret", secret).model_dump()


def _each(secret: StoredSecret, change: Callable[[Secret], Secret]) -> StoredSecret:
    if secret is None:
        return None
    return [change(one) for one in secret] if isinstance(secret, list) else change(secret)


def _invalid(field: str, wrong: str) -> DomainError:
    return DomainError(
        ErrorKind.INVALID_FIELD, field, f"{field} {wrong}; accepted: {'; '.join(_FORMS)}", _FORMS
    )
