"""The ids in addresses.

Owns the form in which they stand there, so that what can be no id of ours is told as unknown
before anything is asked. A run's id has a slash, which is written `%2F` in an address and arrives
here as a slash. Source: automation.md §2 and §14 row 36.
"""

import re
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Depends, Path
from starlette.convertors import Convertor, register_url_convertor

from domain.errors import DomainError, ErrorKind

API: Final = "/api/v1"

_ROUTINE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}", re.ASCII)
_RUN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}/[a-z]-[A-Za-z0-9:.+-]{1,120}", re.ASCII)


class _RunConvertor(Convertor[str]):
    """The part of a path that is a run's id, or could be one."""

    regex = "[^/]+(?:/[^/]+)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("run", _RunConvertor())


def status_url(run_id: str) -> str:
    """Where a run can be read."""
    return f"{API}/runs/{quote(run_id, safe='')}"


def routine_url(routine_id: str) -> str:
    """Where a routine can be read."""
    return f"{API}/routines/{quote(routine_id, safe='')}"


def _routine_id(
    routine_id: Annotated[
        str, Path(description="Id or name of a routine.", examples=["morning-brief"])
    ],
) -> str:
    return _known_form(routine_id, _ROUTINE)


def _run_id(
    run_id: Annotated[
        str,
        Path(
            description="Id of a run: ROUTINE/OCCURRENCE, the slash as %2F.",
            examples=["morning-brief/s-2026-11-23T08:00:00Z"],
        ),
    ],
) -> str:
    return _known_form(run_id, _RUN)


RoutineId = Annotated[str, Depends(_routine_id)]
RunId = Annotated[str, Depends(_run_id)]


def _known_form(given: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(given):
        return given
    raise DomainError(ErrorKind.NOT_FOUND, "id", given)
