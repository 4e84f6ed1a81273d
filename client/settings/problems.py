"""What pydantic found wrong with the settings, told as the project tells every bad input.

Owns the wording: the key, what is accepted, what came, where it stands. Secrets are never quoted.
Source: automation.md §2 (Error) and §14.
"""

import difflib
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from client.settings.schema import Schema, SettingsSchema
from client.settings.tree import Node, Step, dotted, place
from domain.errors import ErrorKind, FieldProblem
from domain.fields import shown

_NO_TAG = "union_tag_not_found"
_BAD_TAG = "union_tag_invalid"


def problems_of(error: ValidationError, tree: Node, schema: SettingsSchema) -> list[FieldProblem]:
    """Every wrong setting once, in the order of the model.

    Args:
        error: What validation of `tree` raised.
        tree: The values with their origins.
        schema: What the settings are.
    """
    problems: dict[str, FieldProblem] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another problem, which is listed
        problem = _problem(detail, tree, schema)
        problems.setdefault(problem.field, problem)
    return list(problems.values())


def _problem(detail: ErrorDetails, tree: Node, schema: SettingsSchema) -> FieldProblem:
    path = _path(detail, tree)
    where = place(tree.nearest(path).origin)
    suffix = f" ({where})" if where else ""
    plain = tree.plain()
    if detail["type"] == "extra_forbidden":
        return _unknown(path, suffix, schema.keys(schema.at(path[:-1], plain) or {}))
    field = dotted(path)
    setting = schema.at(path, plain) or {}
    accepted = schema.accepted(setting)
    if detail["type"] in {"missing", _NO_TAG}:
        kind = ErrorKind.MISSING_FIELD
        message = f"{field} is required: {schema.expected(setting)}"
    else:
        kind = ErrorKind.INVALID_FIELD
        message = _invalid(field, detail, setting, schema)
    return FieldProblem(kind=kind, field=field, message=message + suffix, accepted=accepted)


def _path(detail: ErrorDetails, tree: Node) -> list[Step]:
    """Where the value stands: pydantic's location without the names of the types it tried."""
    path: list[Step] = []
    steps = detail["loc"]
    for position, step in enumerate(steps):
        is_new_key = position == len(steps) - 1 and detail["type"] == "missing"
        if is_new_key or tree.at([*path, step]) is not None:
            path.append(step)
    if detail["type"] in {_NO_TAG, _BAD_TAG}:
        path.append(_context(detail, "discriminator").strip("'"))
    return path


def _unknown(path: Sequence[Step], suffix: str, accepted: list[str]) -> FieldProblem:
    field = dotted(path)
    near = difflib.get_close_matches(str(path[-1]), accepted, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    message = f"{field} is not a setting{suffix}{hint} accepted: {', '.join(accepted)}"
    return FieldProblem(
        kind=ErrorKind.UNKNOWN_FIELD, field=field, message=message, accepted=accepted
    )


def _invalid(field: str, detail: ErrorDetails, setting: Schema, schema: SettingsSchema) -> str:
    if detail["type"] == "value_error":
        # Our own checks word what is wrong; some name the field themselves.
        reason = _context(detail, "error")
        return reason if reason.startswith(field) else f"{field} {reason}"
    came = "" if schema.is_secret(setting) else f", not {_came(detail['input'])}"
    if detail["type"] == _BAD_TAG:
        came = f", not {_context(detail, 'tag')!r}"
    expected = schema.expected(setting)
    return f"{field} must be {expected}{came}" if expected else f"{field}: {detail['msg']}"


def _came(value: object) -> str:
    """What was given, in the words of YAML and JSON."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else shown(value)


def _context(detail: ErrorDetails, key: str) -> str:
    return str(detail.get("ctx", {}).get(key, ""))
