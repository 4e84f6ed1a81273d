"""What people ask of a goal (automation.md §9, §14 rows 41 and 44 to 47)."""

from typing import Any

import pytest
from pydantic import BaseModel

from domain.errors import DomainError
from domain.goal import GoalEvent
from domain.goal_bodies import (
    MAX_SUMMARY_BYTES,
    GoalVerb,
    NewGoal,
    read_claim,
    read_creation,
    read_goal_event,
    read_progress,
    read_request,
)
from domain.goal_messages import (
    CancelIteration,
    ClaimGoal,
    CompleteGoal,
    DelayGoal,
    ExtendGoal,
    PauseGoal,
    ReportProgress,
    WaitGoal,
)

DELAYS, DEADLINES = ("0s", "1m", "12h"), ("48h", "2160h")
REST = {"duration": "5m", "reason": "the build runs"}


@pytest.mark.parametrize(
    ("deadline_in", "seconds"),
    [(None, 7200), ("  ", 7200), ("48h", 172_800), (" 1d12h ", 129_600), ("2160h", 7_776_000)],
)
def test_a_new_goal_is_read(deadline_in: object, seconds: int) -> None:
    found = read_creation({"objective": " Tidy up. ", "deadline_in": deadline_in}, "2h")
    assert found == NewGoal(objective="Tidy up.", deadline_seconds=seconds)


@pytest.mark.parametrize(
    ("body", "kind", "field", "words"),
    [
        ({}, "missing_field", "objective", ["objective"]),
        ({"objective": " \n"}, "missing_field", "objective", ["objective"]),
        ({"objective": 5}, "invalid_field", "objective", ["string"]),
        ({"objective": "ä" * 8_193}, "invalid_field", "objective", ["16384"]),
        ({"objective": "x", "deadline": "2h"}, "unknown_field", "deadline", ["deadline_in"]),
        *(
            ({"objective": "x", "deadline_in": text}, "invalid_field", "deadline_in", DEADLINES)
            for text in ("soon", "300", "0s", "-1h", "2161h", 300, True)
        ),
    ],
)
def test_a_new_goal_that_is_wrong_is_refused(
    body: dict[str, Any], kind: str, field: str, words: list[str]
) -> None:
    with pytest.raises(DomainError) as refused:
        read_creation(body, "48h")
    assert (refused.value.kind, refused.value.field) == (kind, field)
    assert [word for word in words if word not in refused.value.message] == []


@pytest.mark.parametrize(
    ("verb", "body", "request_"),
    [
        (GoalVerb.PAUSE, {}, PauseGoal()),
        (GoalVerb.PAUSE, {"now": True}, PauseGoal(now=True)),
        (GoalVerb.RESUME, {}, None),
        (GoalVerb.COMPLETE, {}, CompleteGoal()),
        (GoalVerb.COMPLETE, {"summary": " Done. "}, CompleteGoal(summary="Done.")),
        (GoalVerb.DELAY, {"duration": " 0s ", "reason": " go on "}, ("0s", "go on")),
        (GoalVerb.DELAY, {"duration": "12h", "reason": "x" * 1_000}, ("12h", "x" * 1_000)),
        (
            GoalVerb.WAIT,
            {"event": " ci:build.* ", **REST},
            WaitGoal(event="ci:build.*", duration="5m", reason="the build runs"),
        ),
        (GoalVerb.EXTEND, {"deadline_in": "24h"}, ExtendGoal(deadline_in="24h")),
        (GoalVerb.CANCEL, {}, CancelIteration()),
        (GoalVerb.CANCEL, {"reason": " wrong way "}, CancelIteration(reason="wrong way")),
    ],
)
def test_what_is_right_is_read(
    verb: GoalVerb, body: dict[str, Any], request_: BaseModel | tuple[str, str] | None
) -> None:
    if isinstance(request_, tuple):
        request_ = DelayGoal(duration=request_[0], reason=request_[1])
    assert read_request(verb, body) == request_


@pytest.mark.parametrize(
    ("verb", "body", "kind", "field", "words"),
    [
        (GoalVerb.PAUSE, {"now": "yes"}, "invalid_field", "now", ["true", "false"]),
        (GoalVerb.PAUSE, {"later": True}, "unknown_field", "later", ["now"]),
        (GoalVerb.RESUME, {"x": 1}, "unknown_field", "x", ["x"]),
        (
            GoalVerb.COMPLETE,
            {"summary": "ä" * (MAX_SUMMARY_BYTES // 2 + 1)},
            "invalid_field",
            "summary",
            ["16384"],
        ),
        (GoalVerb.COMPLETE, {"summary": 5}, "invalid_field", "summary", ["string"]),
        *(
            (
                GoalVerb.DELAY,
                {"duration": text, "reason": "r"},
                "invalid_field",
                "duration",
                DELAYS,
            )
            for text in ("30s", "59s", "12h1s", "-5m", "abc", "5", 5, True)
        ),
        (GoalVerb.DELAY, {"duration": " ", "reason": "r"}, "missing_field", "duration", DELAYS),
        (GoalVerb.DELAY, {"reason": "r"}, "missing_field", "duration", DELAYS),
        (GoalVerb.DELAY, {"duration": "5m"}, "missing_field", "reason", ["reason"]),
        (GoalVerb.DELAY, {"duration": "5m", "reason": " "}, "missing_field", "reason", ["reason"]),
        (
            GoalVerb.DELAY,
            {"duration": "5m", "reason": "x" * 1_001},
            "invalid_field",
            "reason",
            ["1000"],
        ),
        (GoalVerb.WAIT, REST, "missing_field", "event", ["event"]),
        *(
            (GoalVerb.WAIT, {"event": text, **REST}, "invalid_field", "event", ["source:event_"])
            for text in ("ci", "ci:", ":build", "c i:build", "ci:build*", "ci:" + "b" * 201)
        ),
        (GoalVerb.WAIT, {"event": 5, **REST}, "invalid_field", "event", ["string"]),
        (GoalVerb.EXTEND, {}, "missing_field", "deadline_in", ["48h"]),
        (GoalVerb.EXTEND, {"deadline_in": " "}, "missing_field", "deadline_in", ["48h"]),
        (GoalVerb.EXTEND, {"deadline_in": "2161h"}, "invalid_field", "deadline_in", DEADLINES),
        (GoalVerb.EXTEND, {"deadline_in": 48}, "invalid_field", "deadline_in", DEADLINES),
        (GoalVerb.CANCEL, {"reason": "x" * 201}, "invalid_field", "reason", ["200"]),
    ],
)
def test_what_is_wrong_is_refused(
    verb: GoalVerb, body: dict[str, Any], kind: str, field: str, words: list[str]
) -> None:
    with pytest.raises(DomainError) as refused:
        read_request(verb, body)
    assert (refused.value.kind, refused.value.field) == (kind, field), refused.value.message
    assert [word for word in words if word not in refused.value.message] == []


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(DomainError) as refused:
        read_request(GoalVerb.WAIT, {"event": "x", "duration": "5", "when": 1})
    assert [item.field for item in refused.value.errors] == ["when", "event", "duration", "reason"]


def test_the_source_of_an_event_ends_at_the_first_colon() -> None:
    assert read_goal_event("github:issue:closed") == "github:issue:closed"


def test_each_verb_knows_its_update_and_its_event() -> None:
    assert GoalVerb.CANCEL.update == "cancel_iteration"
    assert GoalVerb.CANCEL.event is None
    others = [verb for verb in GoalVerb if verb is not GoalVerb.CANCEL]
    assert [verb.update for verb in others] == [verb.event for verb in others]
    assert GoalVerb.DELAY.event is GoalEvent.DELAY


def test_what_an_iteration_says_is_read_with_its_limits() -> None:
    claim = ClaimGoal(job_id="job_1", summary="x" * 4096, evidence=["c" * 512] * 16, proven=True)
    read = read_claim(claim)
    assert (read.summary, read.evidence, read.proven) == (claim.summary, claim.evidence, True)
    assert read_progress(ReportProgress(job_id="job_1", text=" half way ")) == "half way"


@pytest.mark.parametrize(
    ("said", "field", "limit"),
    [
        ({"summary": "x" * 4097}, "summary", "4096"),
        ({"evidence": ["c"] * 17}, "evidence", "16"),
        ({"evidence": ["c" * 513]}, "evidence", "512"),
    ],
)
def test_a_claim_beyond_its_limits_is_refused(said: dict[str, Any], field: str, limit: str) -> None:
    with pytest.raises(DomainError) as refused:
        read_claim(ClaimGoal.model_validate({"job_id": "job_1", **said}))
    assert (refused.value.kind, refused.value.field) == ("invalid_field", field)
    assert limit in refused.value.message


@pytest.mark.parametrize(("text", "kind"), [(" ", "missing_field"), ("x" * 4097, "invalid_field")])
def test_a_report_beyond_its_limits_is_refused(text: str, kind: str) -> None:
    with pytest.raises(DomainError) as refused:
        read_progress(ReportProgress(job_id="job_1", text=text))
    assert (refused.value.kind, refused.value.field) == (kind, "text")
