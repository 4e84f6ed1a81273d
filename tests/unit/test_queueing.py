"""What happens to a message that arrives while a run is active."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.queueing import (
    DEFAULT_QUEUE_CAP,
    DEFAULT_QUEUE_DEBOUNCE_MS,
    DEFAULT_QUEUE_DROP,
    DEFAULT_QUEUE_MODE,
    QueueAction,
    QueueBehavior,
    QueueDecision,
    QueueDropPolicy,
    QueueInlineOptions,
    QueueMode,
    QueueOverflow,
    QueueSettings,
    build_queue_summary_line,
    decide_queue_action,
    elide_queue_text,
    normalize_queue_drop_policy,
    normalize_queue_mode,
    resolve_queue_behavior,
    resolve_queue_overflow,
)
from domain.text_lines import one_line

texts = st.text(st.sampled_from("ab \t\n\r\v\xa0é😀\ud800"), max_size=20)


def test_the_wire_values_and_defaults_are_fixed() -> None:
    assert list(map(str, QueueMode)) == [
        "interrupt",
        "backlog",
        "steer",
        "followup",
        "collect",
        "steer-backlog",
    ]
    assert list(map(str, QueueDropPolicy)) == ["old", "new", "summarize"]
    assert list(map(str, QueueAction)) == ["run_now", "enqueue", "drop", "interrupt_and_run"]
    assert (DEFAULT_QUEUE_DEBOUNCE_MS, DEFAULT_QUEUE_CAP) == (1000, 20)
    assert QueueSettings() == QueueSettings(
        mode=DEFAULT_QUEUE_MODE, debounce_ms=1000, cap=20, drop_policy=DEFAULT_QUEUE_DROP
    )
    assert QueueSettings() == QueueSettings(
        mode=QueueMode.COLLECT, drop_policy=QueueDropPolicy.SUMMARIZE
    )
    assert QueueInlineOptions() == QueueInlineOptions(debounce_ms=None, cap=None, drop_policy=None)


@pytest.mark.parametrize(
    ("raw", "mode"),
    [
        *((mode.value, mode) for mode in QueueMode),
        (" Steer+Backlog\n", QueueMode.STEER_BACKLOG),
        ("steer_backlog", QueueMode.STEER_BACKLOG),
        ("Follow-Up", QueueMode.FOLLOWUP),
        ("follow_up", None),
        ("steer backlog", None),
        ("later", None),
        ("queue", None),
        ("", None),
        (None, None),
    ],
)
def test_modes_are_read_in_any_accepted_spelling(raw: str | None, mode: QueueMode | None) -> None:
    assert normalize_queue_mode(raw) is mode


@pytest.mark.parametrize(
    ("raw", "policy"),
    [
        *((policy.value, policy) for policy in QueueDropPolicy),
        (" OLD\t", QueueDropPolicy.OLD),
        ("oldest", None),
        ("", None),
        (None, None),
    ],
)
def test_drop_policies_are_read_in_any_case(
    raw: str | None, policy: QueueDropPolicy | None
) -> None:
    assert normalize_queue_drop_policy(raw) is policy


@pytest.mark.parametrize(
    ("mode", "behavior"),
    [
        (QueueMode.STEER, QueueBehavior(steer=True)),
        (QueueMode.FOLLOWUP, QueueBehavior(followup=True)),
        (QueueMode.COLLECT, QueueBehavior(followup=True, collect=True)),
        (QueueMode.STEER_BACKLOG, QueueBehavior(steer=True, followup=True, backlog_after=True)),
        (QueueMode.INTERRUPT, QueueBehavior()),
        (QueueMode.BACKLOG, QueueBehavior()),
        (None, QueueBehavior()),
    ],
)
def test_what_a_mode_means(mode: QueueMode | None, behavior: QueueBehavior) -> None:
    assert resolve_queue_behavior(mode) == behavior


class TestDecision:
    """§3.3: in this order."""

    @pytest.mark.parametrize("mode", [*QueueMode, None])
    def test_without_a_run_it_runs_now(self, mode: QueueMode | None) -> None:
        for is_heartbeat in (False, True):
            assert decide_queue_action(mode, False, is_heartbeat) == QueueDecision(
                QueueAction.RUN_NOW, "no_active_run"
            )

    @pytest.mark.parametrize("mode", [*QueueMode, None])
    def test_a_heartbeat_never_interrupts(self, mode: QueueMode | None) -> None:
        assert decide_queue_action(mode, True, True) == QueueDecision(
            QueueAction.ENQUEUE, "heartbeat_backlog"
        )

    def test_interrupting(self) -> None:
        assert decide_queue_action(QueueMode.INTERRUPT, True, False) == QueueDecision(
            QueueAction.INTERRUPT_AND_RUN, "interrupt_mode"
        )

    @pytest.mark.parametrize(
        ("mode", "reason"),
        [
            (QueueMode.STEER, "steer_mode"),
            (QueueMode.FOLLOWUP, "followup_mode"),
            (QueueMode.COLLECT, "collect_mode"),
            (QueueMode.STEER_BACKLOG, "steer_backlog_mode"),
            (QueueMode.BACKLOG, "backlog_mode"),
            (None, "default_backlog"),
        ],
    )
    def test_every_other_mode_queues(self, mode: QueueMode | None, reason: str) -> None:
        assert decide_queue_action(mode, True, False) == QueueDecision(QueueAction.ENQUEUE, reason)


class TestOverflow:
    """§3.4."""

    @pytest.mark.parametrize("policy", list(QueueDropPolicy))
    @pytest.mark.parametrize(("capacity", "current"), [(0, 9), (-1, 9), (3, 2), (3, 0), (1, 0)])
    def test_with_room_everything_stays(
        self, capacity: int, current: int, policy: QueueDropPolicy
    ) -> None:
        assert resolve_queue_overflow(capacity, current, policy) == QueueOverflow(keep_new=True)

    def test_policy_new_rejects_the_new_one(self) -> None:
        assert resolve_queue_overflow(3, 3, QueueDropPolicy.NEW) == QueueOverflow(keep_new=False)

    @pytest.mark.parametrize(("current", "dropped"), [(3, 1), (5, 3)])
    def test_else_the_oldest_make_room(self, current: int, dropped: int) -> None:
        assert resolve_queue_overflow(3, current, QueueDropPolicy.OLD) == QueueOverflow(
            keep_new=True, items_to_drop=dropped
        )
        assert resolve_queue_overflow(3, current, QueueDropPolicy.SUMMARIZE) == QueueOverflow(
            keep_new=True, items_to_drop=dropped, should_summarize=True
        )

    @given(st.integers(-2, 9), st.integers(0, 30), st.sampled_from(QueueDropPolicy))
    def test_the_queue_never_grows_past_its_capacity(
        self, capacity: int, current: int, policy: QueueDropPolicy
    ) -> None:
        overflow = resolve_queue_overflow(capacity, current, policy)
        after = current - overflow.items_to_drop + overflow.keep_new
        assert 0 <= overflow.items_to_drop <= current
        assert capacity <= 0 or after <= max(capacity, current)
        assert capacity <= 0 or not overflow.keep_new or after <= capacity


class TestShortTexts:
    """§3.5."""

    @pytest.mark.parametrize(
        ("text", "limit", "short"),
        [
            ("good morning", 6, "good…"),
            ("good morning", 12, "good morning"),
            ("good morning", 0, "good morning"),
            ("good morning", -1, "good morning"),
            ("good morning", 1, "g"),
            (" x", 1, " "),
            ("ab", 2, "ab"),
            ("abc", 2, "a…"),
            ("   abc", 3, "…"),
            ("a \t\r\nbc", 6, "a…"),
            ("a\xa0\vbc", 4, "a\xa0\v…"),
            ("😀😀😀", 2, "😀…"),
            ("e\u0301e\u0301", 3, "e\u0301…"),
            ("", 1, ""),
            (None, 3, ""),
        ],
    )
    def test_eliding_counts_code_points(self, text: str | None, limit: int, short: str) -> None:
        assert elide_queue_text(text, limit) == short

    @pytest.mark.parametrize(
        ("text", "limit", "line"),
        [
            (" a\n  b ", 10, "a b"),
            ("a \xa0\u2028 b", 10, "a b"),
            ("one  two   three", 8, "one two…"),
            ("one  two", 7, "one two"),
            ("one  two", 0, "one two"),
            (" \n ", 5, ""),
            (None, 5, ""),
            ("a  b", 10**30, "a b"),
        ],
    )
    def test_a_summary_is_one_line(self, text: str | None, limit: int, line: str) -> None:
        assert build_queue_summary_line(text, limit) == line

    @given(texts, st.integers(-2, 25))
    def test_no_limit_is_ever_exceeded(self, text: str, limit: int) -> None:
        for short in (elide_queue_text(text, limit), build_queue_summary_line(text, limit)):
            assert limit <= 0 or len(short) <= limit

    @given(texts, st.integers(-2, 25))
    def test_a_summary_collapses_first_and_elides_then(self, text: str, limit: int) -> None:
        collapsed = " ".join(text.split())
        assert build_queue_summary_line(text, limit) == elide_queue_text(collapsed, limit)

    @given(texts, st.integers(0, 25))
    def test_one_line_is_exact_for_what_is_shown(self, text: str, shown: int) -> None:
        collapsed, line = " ".join(text.split()), one_line(text, shown)
        assert line[:shown] == collapsed[:shown]
        assert (len(line) > shown) is (len(collapsed) > shown)
