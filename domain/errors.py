"""What can be wrong with what somebody asked for, and how it is told.

Owns the kinds of problems and their public form (`application/problem+json`).
Does not own how a surface shows them: the gateway adds the HTTP answer, the command line its exit
code, both from the tables here. Source: automation.md §2.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

PROBLEM_TYPE_PREFIX = "urn:tickless:problem:"


class ErrorKind(StrEnum):
    """The kind of a problem; callers decide on it, so the values never change."""

    INVALID_FIELD = "invalid_field"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    AUTOMATION_DISABLED = "automation_disabled"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"


HTTP_STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID_FIELD: 400,
    ErrorKind.MISSING_FIELD: 400,
    ErrorKind.UNKNOWN_FIELD: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.PERMISSION_DENIED: 403,
    ErrorKind.AUTOMATION_DISABLED: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.PAYLOAD_TOO_LARGE: 413,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.UNAVAILABLE: 503,
}

EXIT_CODE: dict[ErrorKind, int] = {
    ErrorKind.INVALID_FIELD: 2,
    ErrorKind.MISSING_FIELD: 2,
    ErrorKind.UNKNOWN_FIELD: 2,
    ErrorKind.UNAUTHENTICATED: 4,
    ErrorKind.PERMISSION_DENIED: 4,
    ErrorKind.AUTOMATION_DISABLED: 4,
    ErrorKind.NOT_FOUND: 3,
    ErrorKind.CONFLICT: 5,
    ErrorKind.PAYLOAD_TOO_LARGE: 2,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 2,
    ErrorKind.RATE_LIMITED: 6,
    ErrorKind.UNAVAILABLE: 6,
}

TITLES: dict[ErrorKind, str] = {
    ErrorKind.INVALID_FIELD: "A value is not accepted",
    ErrorKind.MISSING_FIELD: "A required value is missing",
    ErrorKind.UNKNOWN_FIELD: "A key is not known",
    ErrorKind.UNAUTHENTICATED: "Not authenticated",
    ErrorKind.PERMISSION_DENIED: "Not permitted",
    ErrorKind.AUTOMATION_DISABLED: "Automation is switched off",
    ErrorKind.NOT_FOUND: "Not found",
    ErrorKind.CONFLICT: "Not possible in the present state",
    ErrorKind.PAYLOAD_TOO_LARGE: "Too large",
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: "Media type not supported",
    ErrorKind.RATE_LIMITED: "Too many requests",
    ErrorKind.UNAVAILABLE: "Not available now",
}


class FieldProblem(BaseModel):
    """One field that is wrong: an item of `Problem.errors`."""

    model_config = ConfigDict(frozen=True)

    kind: ErrorKind
    field: str
    message: str
    accepted: list[str] = []


class Problem(BaseModel):
    """The public form of a `DomainError`, `application/problem+json`.

    `type` ends in the kind; `detail` is the message; `accepted` lists the accepted values or keys;
    `errors` lists every wrong field, the described one first, when there is more than one.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    kind: ErrorKind
    field: str
    accepted: list[str] = []
    errors: list[FieldProblem] = []


class DomainError(Exception):
    """A request that cannot be carried out; nothing was changed.

    Attributes:
        kind: What sort of problem it is.
        field: Dotted path of the field, `schedule.cron_expr`.
        message: Names the field, says what was wrong and what is accepted.
        accepted: The accepted values or keys, where they can be listed.
        errors: All wrong fields where several are, in validation order; this one first.
    """

    def __init__(
        self,
        kind: ErrorKind,
        field: str,
        message: str,
        accepted: Iterable[str] = (),
        errors: Iterable[FieldProblem] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field
        self.message = message
        self.accepted = list(accepted)
        self.errors = list(errors)

    @property
    def exit_code(self) -> int:
        """The exit code of the command line for this problem."""
        return EXIT_CODE[self.kind]

    def to_problem(self) -> Problem:
        """This error as the object that HTTP and command line print."""
        return Problem(
            type=PROBLEM_TYPE_PREFIX + self.kind,
            title=TITLES[self.kind],
            status=HTTP_STATUS[self.kind],
            detail=self.message,
            kind=self.kind,
            field=self.field,
            accepted=self.accepted,
            errors=self.errors,
        )

    @classmethod
    def from_problem(cls, problem: Problem) -> Self:
        """The error a `Problem` was made from, for one that crossed a process."""
        return cls(problem.kind, problem.field, problem.detail, problem.accepted, problem.errors)
