"""How runs are named, and what is kept of them (automation.md §2)."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.run_start import StartRun
from domain.runs import (
    OPEN_STATUSES,
    FireKind,
    RunRecord,
    RunStatus,
    backfill_occurrence,
    hex32,
    manual_occurrence,
    routine_of_run,
    run_id,
    run_id_of_workflow,
    run_workflow_id,
    scheduled_occurrence,
)
from tests.support.routines import NOW

IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


@given(routine=IDS, occurrence=IDS)
def test_a_run_knows_its_routine_and_its_workflow(routine: str, occurrence: str) -> None:
    made = run_id(routine, occurrence)
    assert routine_of_run(made) == routine
    assert run_id_of_workflow(run_workflow_id(made)) == made


def test_the_names_are_those_of_the_design() -> None:
    assert run_workflow_id(run_id("brief", "m-1")) == "routine-run/brief/m-1"
    assert run_id_of_workflow("goal/user/x") == "goal/user/x"


class TestOccurrences:
    @pytest.mark.parametrize(
        "at",
        [
            datetime(2026, 3, 29, 1, tzinfo=UTC),
            datetime(2026, 3, 29, 1, 0, 0, 999_999, tzinfo=UTC),
            datetime(2026, 3, 29, 3, tzinfo=timezone(timedelta(hours=2))),
        ],
    )
    def test_the_nominal_time_in_utc(self, at: datetime) -> None:
        assert scheduled_occurrence(at) == "s-2026-03-29T01:00:00Z"
        assert backfill_occurrence(at) == "b-2026-03-29T01:00:00Z"

    def test_by_hand_with_a_key(self) -> None:
        expected = hashlib.sha256(b"ou_a\nkey").hexdigest()[:32]
        assert manual_occurrence("ou_a", "key", "ULID") == f"m-{expected}"
        assert manual_occurrence("ou_b", "key", "ULID") != f"m-{expected}"

    @pytest.mark.parametrize("key", [None, ""])
    def test_by_hand_without_one(self, key: str | None) -> None:
        assert manual_occurrence("ou_a", key, "ULID") == "m-ULID"

    @given(text=st.text())
    def test_the_same_text_has_the_same_digits(self, text: str) -> None:
        digits = hex32(text)
        assert digits == hex32(text)
        assert len(digits) == 32
        assert set(digits) <= set("0123456789abcdef")

    def test_text_that_is_no_unicode_has_digits_too(self) -> None:
        assert len(hex32("\ud800")) == 32


class TestRecord:
    def _record(self, **fields: object) -> RunRecord:
        return RunRecord.model_validate(
            {
                "id": "brief/m-1",
                "routine_id": "brief",
                "workflow_id": "routine-run/brief/m-1",
                "trigger_type": "manual",
                "occurred_at": "2026-02-01T12:00:00Z",
                "status": "running",
                **fields,
            }
        )

    def test_unknown_is_null(self) -> None:
        made = self._record()
        unknown = (made.tokens_in, made.tokens_out, made.cost_micros, made.scheduled_at)
        assert unknown == (None,) * 4
        assert (made.stands_for, made.attempts, made.hop) == (1, 0, 0)

    def test_it_survives_json(self) -> None:
        made = self._record(scheduled_at=NOW, warnings=["w"], cost_micros=0)
        assert RunRecord.model_validate_json(made.model_dump_json()) == made

    def test_a_time_has_an_offset(self) -> None:
        with pytest.raises(ValidationError):
            self._record(started_at="2026-02-01T12:00:00")

    def test_open_statuses_are_those_after_which_something_comes(self) -> None:
        ended = {"ok", "attention", "failed", "timed_out", "skipped", "cancelled"}
        assert OPEN_STATUSES | ended == set(RunStatus)
        assert not OPEN_STATUSES & ended


def test_what_a_run_is_started_with_may_be_written_by_hand() -> None:
    start = StartRun.model_validate_json('{"routine_id": "brief", "kind": "manual"}')
    assert start == StartRun(routine_id="brief", kind=FireKind.MANUAL)
    assert (start.force, start.hop, start.actor_id, start.occurred_at) == (False, 0, None, None)
