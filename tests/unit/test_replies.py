"""Which message an answer is attached to, and in which thread it goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.replies import (
    ReplyPayload,
    ReplyTarget,
    ReplyThreadPolicy,
    ReplyToMode,
    ThreadReplyMode,
    apply_reply_to_mode,
    normalize_reply_to_mode,
    normalize_thread_reply_mode,
    resolve_inbound_reply_target,
    resolve_queue_thread_key,
)

payloads = st.builds(
    ReplyPayload,
    text=st.sampled_from(["a", "b"]),
    reply_to_id=st.sampled_from(["", " ", "x", "y"]),
    reply_to_tag=st.booleans(),
    reply_to_current=st.booleans(),
)
policies = st.builds(ReplyThreadPolicy, st.sampled_from(ReplyToMode), st.booleans())


def ids(payloads: list[ReplyPayload]) -> list[str]:
    return [payload.reply_to_id for payload in payloads]


@pytest.mark.parametrize(
    ("raw", "mode"),
    [
        (" First", ReplyToMode.FIRST),
        ("ALL\n", ReplyToMode.ALL),
        ("off", ReplyToMode.OFF),
        ("?", ReplyToMode.OFF),
        ("", ReplyToMode.OFF),
        (None, ReplyToMode.OFF),
    ],
)
def test_an_unknown_reply_mode_is_off(raw: str | None, mode: ReplyToMode) -> None:
    assert normalize_reply_to_mode(raw) is mode


@pytest.mark.parametrize(
    ("raw", "mode"),
    [
        ("Always ", ThreadReplyMode.ALWAYS),
        ("OFF", ThreadReplyMode.OFF),
        ("inbound", ThreadReplyMode.INBOUND),
        ("?", ThreadReplyMode.INBOUND),
        ("", ThreadReplyMode.INBOUND),
        (None, ThreadReplyMode.INBOUND),
    ],
)
def test_an_unknown_thread_mode_is_inbound(raw: str | None, mode: ThreadReplyMode) -> None:
    assert normalize_thread_reply_mode(raw) is mode


class TestReplyToMode:
    """§5.3."""

    a = ReplyPayload(text="1", reply_to_id="a", reply_to_current=True)
    b = ReplyPayload(text="2", reply_to_id="b", reply_to_tag=True)
    blank = ReplyPayload(text="3", reply_to_id=" ", reply_to_tag=True)

    def test_all_keeps_every_target(self) -> None:
        policy = ReplyThreadPolicy(ReplyToMode.ALL)
        assert apply_reply_to_mode([self.a, self.blank, self.b], policy) == [
            self.a,
            self.blank,
            self.b,
        ]

    def test_first_keeps_the_first_that_has_one(self) -> None:
        policy = ReplyThreadPolicy(ReplyToMode.FIRST)
        assert apply_reply_to_mode([self.blank, self.a, self.b, self.a], policy) == [
            self.blank,
            self.a,
            ReplyPayload(text="2"),
            ReplyPayload(text="1"),
        ]

    def test_off_strips_target_and_flags(self) -> None:
        assert apply_reply_to_mode([self.a, self.b], ReplyThreadPolicy()) == [
            ReplyPayload(text="1"),
            ReplyPayload(text="2"),
        ]

    def test_off_may_keep_what_the_model_asked_for(self) -> None:
        policy = ReplyThreadPolicy(allow_explicit_when_mode_off=True)
        plain = ReplyPayload(text="0", reply_to_id="c")
        assert ids(apply_reply_to_mode([plain, self.a, self.b], policy)) == ["", "a", "b"]

    def test_a_blank_target_passes_unchanged(self) -> None:
        for mode in ReplyToMode:
            assert apply_reply_to_mode([self.blank], ReplyThreadPolicy(mode)) == [self.blank]

    def test_everything_else_is_kept(self) -> None:
        payload = ReplyPayload("t", "u", ("v",), "x", True, True, True, True)
        assert apply_reply_to_mode([payload], ReplyThreadPolicy()) == [
            ReplyPayload("t", "u", ("v",), audio_as_voice=True, is_error=True)
        ]

    def test_null_strings_are_empty(self) -> None:
        null = ReplyPayload(text=None, media_url=None, reply_to_id=None)  # type: ignore[arg-type]  # nulls on purpose
        assert apply_reply_to_mode([null], ReplyThreadPolicy()) == [ReplyPayload()]

    @given(st.lists(payloads, max_size=6), policies)
    def test_no_payload_is_lost_or_moved(
        self, given_payloads: list[ReplyPayload], policy: ReplyThreadPolicy
    ) -> None:
        before = list(given_payloads)
        result = apply_reply_to_mode(given_payloads, policy)
        assert [p.text for p in result] == [p.text for p in before]
        assert given_payloads == before
        assert all(new is not old for new, old in zip(result, before, strict=True))
        assert apply_reply_to_mode(result, policy) == result


@pytest.mark.parametrize(
    ("mode", "reply_to", "root", "event", "target"),
    [
        ("off", " $r ", "$t", "$e", ReplyTarget("$r", "", "threading_off")),
        ("off", None, "$t", "$e", ReplyTarget("", "", "threading_off")),
        ("always", "$r", " $t ", "$e", ReplyTarget("$t", "$t", "threading_always")),
        ("always", "$r", " ", " $e ", ReplyTarget("$e", "$e", "threading_always")),
        ("always", None, None, None, ReplyTarget("", "", "threading_always")),
        ("inbound", "$r", "$t", "$e", ReplyTarget("$t", "$t", "threading_inbound_thread")),
        ("inbound", " $r", "", "$e", ReplyTarget("$r", "", "threading_inbound_reply")),
        ("inbound", "", "", "$e", ReplyTarget("", "", "threading_inbound_reply")),
    ],
)
def test_where_an_answer_goes(
    mode: str, reply_to: str | None, root: str | None, event: str | None, target: ReplyTarget
) -> None:
    assert resolve_inbound_reply_target(ThreadReplyMode(mode), reply_to, root, event) == target


@pytest.mark.parametrize(
    ("mode", "root", "event", "key"),
    [
        ("always", " $t ", "$e", "$t"),
        ("always", "", " $e ", "$e"),
        ("always", None, None, ""),
        ("inbound", " $t ", "$e", "$t"),
        ("inbound", "", "$e", ""),
        ("off", "$t", "$e", ""),
    ],
)
def test_the_key_of_queued_messages(
    mode: str, root: str | None, event: str | None, key: str
) -> None:
    assert resolve_queue_thread_key(ThreadReplyMode(mode), root, event) == key
