"""Changing a routine by flags, where a part of what is replaced as a whole is meant.

Owns reading the routine first, and reading it again when it was changed meanwhile: a run that ends
is a change too, of which whoever asks for another limit need not know. Source: automation.md §6.
"""

from typing import TYPE_CHECKING, Any

from client.cli.routine_body import needs_present, patch_of

if TYPE_CHECKING:
    from client.cli.routine_flags import RoutineFlags
    from client.routines import Routines
    from domain.routine_requests import RoutineAnswer

_ATTEMPTS = 5


async def change_by_flags(
    routines: "Routines", routine: str, flags: "RoutineFlags", if_revision: object
) -> "RoutineAnswer":
    """Patch a routine by flags.

    Args:
        routines: The library calls.
        routine: Its id.
        flags: What was given.
        if_revision: The revision it must still have, as it was given; null for any.

    Raises:
        DomainError: As a patch; `conflict` on `revision` when it is changed all the time.
    """
    from domain.errors import DomainError, ErrorKind

    condition = {} if if_revision is None else {"if_revision": if_revision}
    if not needs_present(flags):
        return await routines.patch(routine, {**patch_of(flags, {}), **condition})
    for attempt in range(_ATTEMPTS):
        present = (await routines.get(routine)).routine.model_dump(mode="json")
        changes: dict[str, Any] = patch_of(flags, present)
        # What was merged holds for the revision it was merged with, unless another is asked for,
        # which is then refused.
        read = {"if_revision": present["revision"], **condition}
        try:
            return await routines.patch(routine, {**changes, **read})
        except DomainError as error:
            changed = (error.kind, error.field) == (ErrorKind.CONFLICT, "revision")
            if not changed or condition or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt raises")
