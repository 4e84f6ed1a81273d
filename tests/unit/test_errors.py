"""Problems and their public form (automation.md §2)."""

import pytest

from domain.errors import (
    EXIT_CODE,
    HTTP_STATUS,
    TITLES,
    DomainError,
    ErrorKind,
    FieldProblem,
    Problem,
)

# kind, HTTP status, exit code: the table of automation.md §2.
TABLE = [
    ("invalid_field", 400, 2),
    ("missing_field", 400, 2),
    ("unknown_field", 400, 2),
    ("unauthenticated", 401, 4),
    ("permission_denied", 403, 4),
    ("automation_disabled", 403, 4),
    ("not_found", 404, 3),
    ("conflict", 409, 5),
    ("payload_too_large", 413, 2),
    ("unsupported_media_type", 415, 2),
    ("rate_limited", 429, 6),
    ("unavailable", 503, 6),
]


@pytest.mark.parametrize(("kind", "status", "exit_code"), TABLE)
def test_the_table(kind: str, status: int, exit_code: int) -> None:
    error = DomainError(ErrorKind(kind), "title", "title is wrong")
    problem = error.to_problem()
    assert (problem.status, error.exit_code) == (status, exit_code)
    assert problem.type.endswith(kind)
    assert problem.title == TITLES[error.kind]


def test_every_kind_is_in_it() -> None:
    assert {kind for kind, _, _ in TABLE} == set(ErrorKind)
    assert set(HTTP_STATUS) == set(EXIT_CODE) == set(TITLES) == set(ErrorKind)


def test_an_error_crosses_a_process_unchanged() -> None:
    several = [FieldProblem(kind=ErrorKind.MISSING_FIELD, field="prompt", message="prompt?")]
    error = DomainError(ErrorKind.INVALID_FIELD, "title", "title: 1 or 2", iter("12"), several)
    sent = error.to_problem().model_dump_json()

    found = DomainError.from_problem(Problem.model_validate_json(sent))

    assert (found.kind, found.field, found.message) == (error.kind, "title", "title: 1 or 2")
    assert (found.accepted, found.errors) == (["1", "2"], several)
    assert str(found) == error.message
    assert found.to_problem() == error.to_problem()
