"""The ids in addresses.

Owns the form in which they stand there, so that what can be no id of ours is told as unknown
before anything is asked. A run's id has a slash, which is written `%2F` in an address and arrives
here as a slash. A session's key may hold any number of them and end like an address of ours, so
its addresses go by what was sent. Source: automation.md §2 and §14 row 36.
"""

import re
from typing import Annotated, Final
from urllib.parse import quote, unquote

from fastapi import Depends, Path
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Scope

from domain.errors import DomainError, ErrorKind
from domain.session_bodies import read_session_key

API: Final = "/api/v1"

_ROUTINE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}", re.ASCII)
_RUN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}/[a-z]-[A-Za-z0-9:.+-]{1,120}", re.ASCII)

_JOB: Final = re.compile(r"job_[A-Za-z0-9]{1,64}", re.ASCII)
_APPROVAL: Final = re.compile(r"approval_[A-Za-z0-9]{1,64}", re.ASCII)


class _RunConvertor(Convertor[str]):
    """The part of a path that is a run's id, or could be one."""

    regex = "[^/]+(?:/[^/]+)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


# Stands for what is no UTF-8; no key and no id of ours has it.
_NO_TEXT: Final = "\0"


class _KeyConvertor(Convertor[str]):
    """The part of a path that is a session's key, as it was sent."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        try:
            return unquote(value, errors="strict")
        except UnicodeDecodeError:
            return _NO_TEXT

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("run", _RunConvertor())
register_url_convertor("key", _KeyConvertor())


class SentPathRoute(APIRoute):
    """An address that is compared with what was sent, before `%2F` becomes a slash."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for this address."""
        if scope["type"] != "http":
            return super().matches(scope)
        return super().matches({**scope, "path": scope["raw_path"].decode("latin-1")})


def status_url(run_id: str) -> str:
    """Where a run can be read."""
    return f"{API}/runs/{quote(run_id, safe='')}"


def routine_url(routine_id: str) -> str:
    """Where a routine can be read."""
    return f"{API}/routines/{quote(routine_id, safe='')}"


def session_url(key: str) -> str:
    """Where a session can be read."""
    return f"{API}/sessions/{quote(key, safe='')}"


def message_url(key: str, message_id: str) -> str:
    """Where it can be read what became of a message."""
    return f"{session_url(key)}/messages/{quote(message_id, safe='')}"


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


def _session_key(
    key: Annotated[
        str,
        Path(
            description="Key of a session: BASE or BASE|thread:ID, with %3A, %7C and %2F for "
            "colon, bar and slash.",
            examples=["slack:C1|thread:7"],
            max_length=512,
        ),
    ],
) -> str:
    return read_session_key(key)


def _message_id(
    message_id: Annotated[
        str, Path(description="Id of a message.", examples=["1732.5"], max_length=255)
    ],
) -> str:
    return message_id


def _job_id(
    job_id: Annotated[
        str, Path(description="Id of a job.", examples=["job_01KB3Q6Z9M7V5D2S8R4T1X0YFA"])
    ],
) -> str:
    return _known_form(job_id, _JOB)


def _approval_id(
    approval_id: Annotated[
        str,
        Path(description="Id of an approval.", examples=["approval_01KB3Q6Z9M7V5D2S8R4T1X0YFA"]),
    ],
) -> str:
    return _known_form(approval_id, _APPROVAL)


JobId = Annotated[str, Depends(_job_id)]
ApprovalId = Annotated[str, Depends(_approval_id)]
RoutineId = Annotated[str, Depends(_routine_id)]
RunId = Annotated[str, Depends(_run_id)]
SessionKey = Annotated[str, Depends(_session_key)]
MessageId = Annotated[str, Depends(_message_id)]


def _known_form(given: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(given):
        return given
    raise DomainError(ErrorKind.NOT_FOUND, "id", given)
