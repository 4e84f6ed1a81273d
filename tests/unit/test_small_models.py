"""The small values: models, scopes, channels, rows, names of the outside world."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from domain.admission import (
    BeginRun,
    Decision,
    EndRun,
    MarkRun,
    NoticeKind,
    RunEnded,
    RunMark,
    Verdict,
)
from domain.channels import ChannelSpec, ConsoleChannel, FileChannel, WebhookChannel
from domain.deliveries import SETTLED, Delivery, DeliveryStatus, occurrence_id
from domain.identifiers import (
    SERVED_QUEUES,
    routine_workflow_id,
    schedule_id,
    scheduled_run_prefix,
)
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.messages import Message
from domain.model_chain import ModelSpec, ToolCallStyle, usable_models
from domain.routine_requests import (
    ChangeRoutine,
    CreateRoutine,
    DeleteRoutine,
    ListRuns,
    PatchRoutine,
    RunAccepted,
    RunList,
    StartRoutine,
    TriggerRoutine,
)
from domain.runs import KeptRun, run_id, run_workflow_id, scheduled_occurrence
from domain.scopes import Route, Scope, ScopeKind
from domain.threads import Thread, ThreadKind, ThreadMessage
from domain.usage import Spent
from tests.support.bookings import Bookings, ending, state
from tests.support.routines import NOW, RECORD

CHANNEL: TypeAdapter[ChannelSpec] = TypeAdapter(ChannelSpec)


def chain(*names: str) -> list[ModelSpec]:
    return [ModelSpec(name=name) for name in names]


class TestModels:
    def test_defaults(self) -> None:
        made = ModelSpec(name="gpt-5")
        assert made.key == "openai/gpt-5"
        assert (made.context_tokens, made.max_tokens) == (128_000, None)
        assert made.tool_calls == ToolCallStyle.NATIVE

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": ""},
            {"context_tokens": 0},
            {"max_tokens": 0},
            {"temperature": 2.1},
            {"connect_timeout_seconds": 0},
            {"idle_timeout_seconds": -1},
            {"tool_calls": "maybe"},
            {"modell": "x"},
        ],
    )
    def test_what_no_model_has(self, fields: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            ModelSpec.model_validate({"name": "m", **fields})

    def test_a_key_is_not_printed(self) -> None:
        made = ModelSpec.model_validate({"name": "m", "api_key": "sk-secret"})
        assert "sk-secret" not in f"{made!r} {made.model_dump_json()}"

    @pytest.mark.parametrize(
        ("cooling", "usable"),
        [
            ([], ["a", "b"]),
            (["openai/a"], ["b"]),
            (["openai/b", "openai/x"], ["a"]),
            (["openai/a", "openai/b"], ["a", "b"]),
        ],
    )
    def test_a_model_that_may_answer_is_better_than_none(
        self, cooling: list[str], usable: list[str]
    ) -> None:
        assert [item.name for item in usable_models(chain("a", "b"), cooling)] == usable

    def test_no_chain_no_model(self) -> None:
        assert usable_models([], ["openai/a"]) == []


class TestSpent:
    def test_unknown_is_not_zero(self) -> None:
        nothing = Spent()
        assert (nothing.tokens, nothing.plus(None, None, None)) == (None, nothing)

    def test_what_is_known_is_added(self) -> None:
        spent = Spent().plus(10, None, 5).plus(None, 2, None).plus(1, 1, 0)
        assert spent == Spent(tokens_in=11, tokens_out=3, cost_micros=5)
        assert spent.tokens == 14

    @pytest.mark.parametrize(("given", "tokens"), [((3, None), 3), ((None, 4), 4)])
    def test_half_is_better_than_nothing(
        self, given: tuple[int | None, int | None], tokens: int
    ) -> None:
        assert Spent().plus(*given, None).tokens == tokens


class TestScopes:
    def test_text_forms(self) -> None:
        assert Scope(kind=ScopeKind.CHAT, id="oc_x").text == "chat:oc_x"
        assert Route(receive_id_type="webhook", receive_id="alerts").text == "webhook:alerts"
        assert Route(receive_id_type="console").text == "console"

    @pytest.mark.parametrize("model", [Scope, Route])
    def test_nothing_else_belongs_to_them(self, model: type[BaseModel]) -> None:
        given = {"kind": "user", "id": "x", "receive_id_type": "x", "extra": 1}
        with pytest.raises(ValidationError):
            model.model_validate(given)


class TestChannels:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"type": "console"}, ConsoleChannel()),
            ({"type": "file"}, FileChannel(path="deliveries.jsonl")),
            ({"type": "file", "path": "x.jsonl"}, FileChannel(path="x.jsonl")),
        ],
    )
    def test_they_are_told_by_their_type(self, given: dict[str, str], expected: BaseModel) -> None:
        assert CHANNEL.validate_python(given) == expected

    def test_a_webhook(self) -> None:
        given = {"type": "webhook", "url": "https://x.test/hook", "secret": "whsec_c2VjcmV0"}
        made = CHANNEL.validate_python(given)
        assert isinstance(made, WebhookChannel)
        assert made.deduplicates is False
        assert "c2VjcmV0" not in repr(made)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"type": "pigeon"},
            {"path": "x"},
            {"type": "console", "path": "x"},
            {"type": "webhook", "url": "ftp://x.test", "secret": "s"},
            {"type": "webhook", "url": "https://x.test"},
            {"type": "webhook", "url": "https://x.test", "secret": "s", "timeout_seconds": 0},
        ],
    )
    def test_what_is_no_channel(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            CHANNEL.validate_python(wrong)


class TestNames:
    """The names of DESIGN §3, which other systems rely on."""

    def test_workflows_and_schedules(self) -> None:
        assert routine_workflow_id("brief") == "routine/brief"
        assert schedule_id("brief") == "routine-schedule/brief"

    def test_the_server_completes_the_id_of_a_scheduled_run(self) -> None:
        completed = scheduled_run_prefix("brief") + "-2026-02-01T12:00:00Z"
        assert completed == run_workflow_id(run_id("brief", scheduled_occurrence(NOW)))

    def test_queues(self) -> None:
        assert SERVED_QUEUES == (
            "tickless-entities",
            "tickless",
            "tickless-llm",
            "tickless-tools",
            "tickless-watch",
        )

    def test_a_delivery_is_a_part_of_a_run(self) -> None:
        assert occurrence_id("brief/m-1", "final") == "brief/m-1/final"
        assert {DeliveryStatus.PENDING, DeliveryStatus.UNKNOWN} == set(DeliveryStatus) - SETTLED


CREATE = {
    "id": "brief",
    "body": {"prompt": "x", "schedule": {"every_seconds": 60}, "nested": [1, None, {"a": 1.5}]},
    "scope": RECORD["scope"],
    "route": RECORD["route"],
    "creator": RECORD["creator"],
    "key": "k",
    "digest": "d",
}
CALL = {"id": "w/1/1", "model": "m", "provider": "p", "purpose": "run", "started_at": NOW}
MESSAGE: Message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}


def _verdict() -> Verdict:
    return Bookings().begin("m-1")


@pytest.mark.parametrize(
    "value",
    [
        BeginRun.model_validate({"run_id": "r/m-1", "kind": "manual", "occurred_at": NOW}),
        MarkRun(run_id="r/m-1", state=RunMark.WAITING),
        ending("m-1"),
        RunEnded(accepted=True, notices=[NoticeKind.FIRST_FAILURE]),
        Verdict(decision=Decision.CHECK, holders=["r/m-1"]),
        _verdict(),
        CreateRoutine.model_validate(CREATE),
        StartRoutine(create=CreateRoutine.model_validate(CREATE)),
        StartRoutine(state=state()),
        ChangeRoutine(actor_id="ou_a", scope=Scope(kind=ScopeKind.USER, id="ou_a")),
        PatchRoutine(changes={"title": None}, if_revision=3),
        DeleteRoutine(purge=True),
        TriggerRoutine(force=True),
        RunAccepted(run_id="r/m-1", workflow_id="routine-run/r/m-1"),
        ListRuns(limit=5),
        RunList(runs=[KeptRun(**ending("m-1").record.model_dump(), message_ids=["om_1"])]),
        LlmCall.model_validate({**CALL, "status": LlmCallStatus.FAILED, "tokens_in": 0}),
        Thread(id="t", scope="user:me", kind=ThreadKind.GOAL, created_at=NOW),
        ThreadMessage(
            id="m",
            thread_id="t",
            role=MESSAGE["role"],
            content="",
            tool_calls=MESSAGE["tool_calls"],
            created_at=NOW,
        ),
        Delivery.model_validate(
            {
                "occurrence_id": "r/m-1/final",
                "run_id": "r/m-1",
                "route": RECORD["route"],
                "part": "final",
                "text": "x",
                "created_at": NOW,
            }
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_and_rows_survive_json_and_do_not_change(value: BaseModel) -> None:
    assert type(value).model_validate_json(value.model_dump_json()) == value
    name = next(iter(type(value).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, name, None)


@pytest.mark.parametrize("model", [ChangeRoutine, DeleteRoutine, TriggerRoutine, ListRuns])
def test_whoever_sends_nothing_is_the_operator(model: Any) -> None:
    empty = model.model_validate_json("{}")
    assert (empty.actor_id, empty.scope) == (None, None)


def test_the_end_of_a_run_brings_the_workers_limit() -> None:
    assert EndRun(record=ending("m-1").record).failure_limit == 3
