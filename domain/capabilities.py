"""What this version can carry out, of all that a routine may say.

Owns the refusal of the rest: a routine that is accepted must also run. Shrinks with every
capability that is added, and goes away with the last.
"""

from domain.actions import LightweightAction
from domain.errors import DomainError, ErrorKind
from domain.routine_model import Routine


def check_supported(routine: Routine) -> None:
    """Refuse what nothing would carry out.

    Raises:
        DomainError: `invalid_field` on `action.type` or `action.use_tools`.
    """
    if not isinstance(routine.action, LightweightAction):
        raise _unsupported("action.type", routine.action.type, ["lightweight"])
    if routine.action.use_tools:
        raise _unsupported("action.use_tools", "true", ["false"])


def _unsupported(field: str, value: str, accepted: list[str]) -> DomainError:
    return DomainError(
        ErrorKind.INVALID_FIELD,
        field,
        f"{field} {value!r} is not supported by this version; accepted: {', '.join(accepted)}",
        accepted,
    )
