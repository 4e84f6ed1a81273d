"""What people ask of jobs and approvals (triggers-and-actions.md §6, §8 and §12 row 23)."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from domain.approvals import Decision
from domain.errors import DomainError
from domain.job_bodies import (
    MAX_SECONDS,
    PersonDecision,
    read_cancel,
    read_decision,
    read_extension,
    read_message,
)
from domain.job_messages import CancelJob

Read = Callable[[Mapping[str, object]], object]


def test_what_is_right_is_read() -> None:
    assert read_message({"text": " Be quick. "}) == "Be quick."
    assert read_message({"text": "ä" * 8_192}) == "ä" * 8_192
    assert read_cancel({}) == read_cancel({"reason": " "}) == CancelJob()
    assert read_cancel({"reason": "enough"}) == CancelJob(reason="enough")
    assert read_decision({"decision": "deny"}) == PersonDecision(decision=Decision.DENY)
    said = {"decision": " approve ", "reason": "fine", "digest": "ab", "always": True}
    assert read_decision(said) == PersonDecision(
        decision=Decision.APPROVE, reason="fine", digest="ab", always=True
    )
    assert read_extension({"seconds": MAX_SECONDS}) == MAX_SECONDS == 2_592_000


@pytest.mark.parametrize(
    ("read", "body", "kind", "field", "words"),
    [
        (read_message, {}, "missing_field", "text", ["text"]),
        (read_message, {"text": "  "}, "missing_field", "text", ["text"]),
        (read_message, {"text": 5}, "invalid_field", "text", ["string"]),
        (read_message, {"text": "ä" * 8_193}, "invalid_field", "text", ["16384"]),
        (read_message, {"text": "a", "to": "b"}, "unknown_field", "to", ["text"]),
        (read_cancel, {"reason": "x" * 201}, "invalid_field", "reason", ["200"]),
        (read_cancel, {"why": "x"}, "unknown_field", "why", ["reason"]),
        (read_decision, {}, "missing_field", "decision", ["approve", "deny"]),
        (read_decision, {"decision": " "}, "missing_field", "decision", ["approve", "deny"]),
        (
            read_decision,
            {"decision": "maybe"},
            "invalid_field",
            "decision",
            ["approve", "deny", "maybe"],
        ),
        (read_decision, {"decision": ["deny"]}, "invalid_field", "decision", ["approve", "deny"]),
        (
            read_decision,
            {"decision": "deny", "reason": "x" * 2_001},
            "invalid_field",
            "reason",
            ["2000"],
        ),
        (
            read_decision,
            {"decision": "deny", "digest": "x" * 129},
            "invalid_field",
            "digest",
            ["128"],
        ),
        (
            read_decision,
            {"decision": "deny", "always": "yes"},
            "invalid_field",
            "always",
            ["true", "false"],
        ),
        (read_extension, {}, "missing_field", "seconds", ["1", "2592000"]),
        (read_extension, {"seconds": 0}, "invalid_field", "seconds", ["1", "2592000"]),
        (read_extension, {"seconds": True}, "invalid_field", "seconds", ["integer"]),
        (read_extension, {"seconds": "60"}, "invalid_field", "seconds", ["integer"]),
        (read_extension, {"seconds": 2_592_001}, "invalid_field", "seconds", ["2592000"]),
    ],
)
def test_what_is_wrong_is_refused(
    read: Read, body: dict[str, Any], kind: str, field: str, words: list[str]
) -> None:
    with pytest.raises(DomainError) as refused:
        read(body)
    assert (refused.value.kind, refused.value.field) == (kind, field)
    assert [word for word in words if word not in refused.value.message] == []
