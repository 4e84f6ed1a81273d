"""Session keys: what they name, and which of them conflict (automation.md §8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.session import (
    conflicts,
    plain_chat_id,
    thread_scope,
    visibility_key,
    without_message,
)

CHAT = "chat_id:oc_x"
IDS = st.text("abc:_", min_size=1, max_size=4)
PARTS = st.lists(
    st.builds("|{}:{}".format, st.sampled_from(["message", "scene", "seed"]), IDS), max_size=3
).map("".join)


class TestParts:
    @pytest.mark.parametrize(
        ("key", "base", "bare", "thread"),
        [
            (CHAT, CHAT, CHAT, ""),
            (f"{CHAT}|thread:omt_1", CHAT, f"{CHAT}|thread:omt_1", "|thread:omt_1"),
            (f"{CHAT}|message:om_2", CHAT, CHAT, ""),
            (f"{CHAT}|thread:t|message:om_2", CHAT, f"{CHAT}|thread:t", "|thread:t"),
            (f"{CHAT}|message:om_2|thread:t", CHAT, CHAT, "|thread:t"),
            (f"{CHAT}|scene:work|thread:t", CHAT, f"{CHAT}|scene:work|thread:t", "|thread:t"),
            (f"{CHAT}|seed:om_1", CHAT, f"{CHAT}|seed:om_1", ""),
            (f"{CHAT}|thread:", CHAT, f"{CHAT}|thread:", ""),
            (f" {CHAT} | thread", CHAT, f"{CHAT} | thread", ""),
            ("|thread:t", "", "|thread:t", "|thread:t"),
            ("|message:m", "", "", ""),
            ("", "", "", ""),
        ],
    )
    def test_a_key_is_taken_apart(self, key: str, base: str, bare: str, thread: str) -> None:
        assert visibility_key(key) == base
        assert without_message(key) == bare
        assert thread_scope(key) == thread


class TestConflicts:
    @pytest.mark.parametrize(
        ("a", "b", "together"),
        [
            (CHAT, CHAT, True),
            (CHAT, f"{CHAT}|message:om_9", True),
            (f"{CHAT}|thread:a", f"{CHAT}|thread:a|message:om_9", True),
            (f"{CHAT}|thread:a", f"{CHAT}|scene:work|thread:a", True),
            (f"{CHAT}|thread:a", f"{CHAT}|thread:b", False),
            (f"{CHAT}|thread:a", CHAT, False),
            (CHAT, "chat_id:oc_y", False),
            ("", "", False),
            ("|thread:a", "|thread:a", False),
        ],
    )
    def test_only_the_same_conversation_conflicts(self, a: str, b: str, together: bool) -> None:
        assert conflicts(a, b) is together
        assert conflicts(b, a) is together

    @given(base=IDS, thread=IDS, other=IDS, before=PARTS, after=PARTS)
    def test_other_parts_never_matter(
        self, base: str, thread: str, other: str, before: str, after: str
    ) -> None:
        key = f"{base}{before}|thread:{thread}{after}"

        assert conflicts(key, f"{base}|thread:{thread}")
        assert not conflicts(key, base + before)
        assert conflicts(base, base + after)
        assert conflicts(key, f"{base}|thread:{other}") is (thread == other)


class TestPlainChatId:
    @pytest.mark.parametrize(
        ("scope_id", "plain"),
        [
            ("chat_id:oc_x", "oc_x"),
            ("oc_x", "oc_x"),
            (" chat_id: oc_x ", "oc_x"),
            ("chat_id:oc_x|thread:omt_1|message:om_2", "oc_x"),
            ("oc_x|thread:omt_1", "oc_x"),
            ("open_id:ou_a", "ou_a"),
            ("webhook:a:b", "a:b"),
            ("", ""),
        ],
    )
    def test_the_channel_sees_its_own_id(self, scope_id: str, plain: str) -> None:
        assert plain_chat_id(scope_id) == plain
