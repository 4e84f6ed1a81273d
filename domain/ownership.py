"""Who owns a routine or goal, and where it speaks: the checks of scope, route and creator.

Owns the rules about these three values as they stand in a record. Deriving them from a caller's
context is the surfaces' matter. Source: automation.md §4.
"""

from domain.actor import Actor, preferred_id
from domain.fields import FieldReader
from domain.scopes import Route, Scope, ScopeKind

# These channels have one place to write to, so a target is optional.
CHANNELS_WITHOUT_TARGET = frozenset({"console", "file"})
_KINDS = tuple(kind.value for kind in ScopeKind)


def validate_scope(value: object, field: str = "scope") -> Scope:
    """Check a scope; `kind` in any case.

    Raises:
        DomainError: On `<field>.kind` or `<field>.id`.
    """
    reader = _read(value, field)
    reader.refuse_unknown(tuple(Scope.model_fields))
    kind = _read_kind(reader)
    scope_id = reader.required_text("id")
    reader.close()
    return Scope(kind=ScopeKind(kind), id=scope_id)


def validate_route(value: object, field: str = "route") -> Route:
    """Check a route; `console` and `file` need no `receive_id`.

    Raises:
        DomainError: On `<field>.receive_id_type` or `<field>.receive_id`.
    """
    reader = _read(value, field)
    reader.refuse_unknown(tuple(Route.model_fields))
    receive_id_type = reader.required_text("receive_id_type")
    if receive_id_type in CHANNELS_WITHOUT_TARGET:
        receive_id = reader.text("receive_id") or ""
    else:
        receive_id = reader.required_text("receive_id")
    reader.close()
    return Route(receive_id_type=receive_id_type, receive_id=receive_id)


def validate_creator(value: object, field: str = "creator") -> Actor:
    """Check a creator, who needs a `user_id` or an `open_id`.

    Raises:
        DomainError: `missing_field` on `<field>` when both are blank.
    """
    reader = _read(value, field)
    reader.refuse_unknown(tuple(Actor.model_fields))
    actor = Actor.model_validate({key: reader.text(key) for key in Actor.model_fields})
    reader.close()
    if not preferred_id(actor):
        whole = FieldReader({}, "")
        whole.missing(field, "it needs a user_id or an open_id")
        whole.close()
    return actor


def _read(value: object, field: str) -> FieldReader:
    return FieldReader.of({} if value is None else value, field)


def _read_kind(reader: FieldReader) -> str:
    text = reader.text("kind")
    if text is not None and text.lower() in _KINDS:
        return text.lower()
    if text is not None:
        reader.invalid("kind", f"must be one of {', '.join(_KINDS)}, not {text!r}", _KINDS)
    elif not reader.problems:
        reader.missing("kind", f"one of {', '.join(_KINDS)}")
    return ""
