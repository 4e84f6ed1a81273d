"""What can be asked of the ledger, and rows of deliveries as people see and resend them."""

from datetime import timedelta
from typing import Any, get_args

import pytest

from activities.audit_reads import AuditReads
from activities.cost_reads import CostReads
from activities.job_reads import JobReads
from activities.ledger_reads import LedgerActivities, fitting
from domain.deliveries import DeliveryStatus, next_resend, resend, resend_prefix
from domain.delivery_events import event_of_unknown
from domain.ledger_requests import (
    MAX_ANSWER_BYTES,
    PREVIEW_CHARS,
    AskLedger,
    DeliveryRecord,
    GetDelivery,
    LedgerQuestion,
    ResendDelivery,
)
from domain.scopes import Route
from tests.support.ledger_rows import NOON, RUN_ID, delivery

FINAL = f"{RUN_ID}/final"


def questions() -> dict[str, type]:
    """The questions by the name of their activity."""
    union, _discriminator = get_args(LedgerQuestion)
    return {kind.model_fields["ask"].default: kind for kind in get_args(union)}


def test_every_question_has_its_activity() -> None:
    nothing: Any = None
    activities = [
        *LedgerActivities(nothing, nothing).all(),
        *AuditReads(nothing, nothing, nothing).all(),
        *JobReads(nothing).all(),
        *CostReads(nothing, "UTC").all(),
    ]
    served = {work.__name__ for work in activities}
    assert served == set(questions())


def test_a_question_comes_back_as_it_was_asked() -> None:
    asked = AskLedger(question=ResendDelivery(scope="user:me", id=FINAL))
    read = AskLedger.model_validate_json(asked.model_dump_json())
    assert read == asked
    assert read.question.REPAIRS
    assert not GetDelivery(scope="user:me", id=FINAL).REPAIRS


class TestResend:
    def test_a_text_once_more_is_a_row_of_its_own(self) -> None:
        kept: dict[str, Any] = {"scope": "user:me", "reply_to": "$m1", "audio_as_voice": True}
        row = delivery(status=DeliveryStatus.FAILED, attempts=5, error="no", **kept)
        later = NOON + timedelta(hours=1)
        again = resend(row, 1, later)
        assert again == delivery("final/resend-1", text=row.text, created_at=later, **kept)
        assert again.occurrence_id == f"{FINAL}/resend-1"

    def test_a_resend_is_sent_again_under_the_first_key(self) -> None:
        first = resend(delivery(), 1, NOON)
        second = resend(first, 2, NOON)
        assert (second.occurrence_id, second.part) == (f"{FINAL}/resend-2", "final/resend-2")

    @pytest.mark.parametrize("key", [FINAL, f"{FINAL}/resend-12"])
    def test_all_resends_begin_alike(self, key: str) -> None:
        assert resend_prefix(key) == f"{FINAL}/resend-"

    def test_the_next_number(self) -> None:
        assert next_resend([]) == 1
        assert next_resend([f"{FINAL}/resend-{n}" for n in (9, 10, 2)]) == 11
        assert next_resend([f"{FINAL}/resend-x"]) == 1


class TestRecord:
    def test_a_long_text_is_cut_and_says_so(self) -> None:
        row = delivery(text="x" * 300, route=Route(receive_id_type="webhook", receive_id="ops"))
        record = DeliveryRecord.of(row, PREVIEW_CHARS)
        assert (len(record.text), record.truncated, record.route) == (200, True, "webhook:ops")
        assert not DeliveryRecord.of(row, 300).truncated

    def test_a_page_ends_before_it_is_too_long(self) -> None:
        record = DeliveryRecord.of(delivery(text="ü" * 50_000), 50_000)
        kept = fitting([record] * 10)
        assert len(kept) == 2
        assert sum(len(item.model_dump_json().encode()) for item in kept) <= MAX_ANSWER_BYTES
        assert len(fitting([DeliveryRecord.of(delivery(text="x" * 300_000), 300_000)] * 2)) == 1


class TestEvent:
    def test_it_says_whose_text_it_was(self) -> None:
        row = delivery(status=DeliveryStatus.UNKNOWN, error="no answer")
        event = event_of_unknown(row, hop=2)
        assert event is not None
        assert (event.id, event.hop, event.about) == (
            f"delivery.unknown {FINAL}",
            3,
            "morning-brief",
        )
        assert event.payload == {
            "routine_id": "morning-brief",
            "run_id": RUN_ID,
            "occurrence_id": FINAL,
            "route": "console",
            "title": "morning-brief",
            "status": "unknown",
            "reason": "no answer",
        }

    def test_beyond_the_hop_limit_nothing_is_told(self) -> None:
        assert event_of_unknown(delivery(), hop=8) is not None
        assert event_of_unknown(delivery(), hop=9) is None

    def test_what_no_run_says(self) -> None:
        row = delivery(run_id="x").model_copy(update={"run_id": None})
        alert = event_of_unknown(row, routine_id="morning-brief")
        assert alert is not None
        assert (alert.hop, alert.about) == (0, "morning-brief")
        other = event_of_unknown(row)
        assert other is not None
        assert (other.about, other.payload["title"]) == (None, "final")
