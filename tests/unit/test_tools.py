"""Which tools exist where nobody watches, and what may be shown of what they said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tool_specs import Permission, ToolSpec
from domain.tools import sanitize_output, truncate_output, unattended_tools
from tests.support.routines import assert_refused, refusal

SPECS = [
    ToolSpec(name="time_now", description="d", permission=Permission.ALLOW),
    ToolSpec(name="mail", description="d"),
    ToolSpec(name="shell", description="d", needs_sandbox=True),
    ToolSpec(name="py", description="d", permission=Permission.ALLOW, needs_sandbox=True),
    ToolSpec(name="nuke", description="d", permission=Permission.DENY),
    ToolSpec(name="edit", description="d", permission=Permission.ALLOW, attended_only=True),
]


class TestUnattended:
    @pytest.mark.parametrize(
        ("given_", "offered", "removed"),
        [
            (
                {},
                ["time_now", "py"],
                {
                    "mail": "approval",
                    "shell": "approval",
                    "nuke": "denied",
                    "edit": "attended_only",
                },
            ),
            (
                {"mode": "full_job"},
                ["time_now", "mail", "shell", "py"],
                {"nuke": "denied", "edit": "attended_only"},
            ),
            (
                {"mode": "full_job", "sandbox": "off"},
                ["time_now", "mail"],
                {
                    "shell": "sandbox_off",
                    "py": "sandbox_off",
                    "nuke": "denied",
                    "edit": "attended_only",
                },
            ),
            (
                {"sandbox": "host", "engine_ready": False, "allowed": ["py", "edit", "nuke"]},
                ["py", "edit"],
                {
                    "time_now": "not_allowed",
                    "mail": "not_allowed",
                    "shell": "not_allowed",
                    "nuke": "denied",
                },
            ),
            (
                {"engine_ready": False, "mode": "full_job", "allowed": ["py", "mail"]},
                ["mail"],
                {
                    "time_now": "not_allowed",
                    "shell": "not_allowed",
                    "py": "sandbox_unavailable",
                    "nuke": "not_allowed",
                    "edit": "not_allowed",
                },
            ),
        ],
    )
    def test_the_first_reason_that_applies_is_told(
        self, given_: dict[str, object], offered: list[str], removed: dict[str, str]
    ) -> None:
        found = unattended_tools(SPECS, **given_)  # type: ignore[arg-type]  # one table, many types
        assert found.offered == offered
        assert found.removed == removed

    @pytest.mark.parametrize("permission", ["sometimes", "", None, "ALLOW"])
    def test_a_permission_that_is_not_known_asks(self, permission: str | None) -> None:
        tools = [{"name": "x", "permission": permission, "else": 1}]
        assert unattended_tools(tools).removed == {"x": "approval"}
        assert unattended_tools(tools, mode="full_job").offered == ["x"]

    def test_an_empty_list_of_allowed_tools_allows_none(self) -> None:
        assert unattended_tools(SPECS, allowed=[]).offered == []

    def test_a_word_that_is_not_known_is_refused(self) -> None:
        error = refusal(lambda: unattended_tools([], mode="chat"))
        assert_refused(error, "invalid_field", "mode", "lightweight", "full_job")
        error = refusal(lambda: unattended_tools([], sandbox="podman"))
        assert_refused(error, "invalid_field", "sandbox_mode", "docker", "host", "off")


class TestSanitize:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("a\r\nb\rc\n", "a\nb\nc\n"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07x\x1b]8;;u\x1b\\link", "xlink"),
            ("\x1b]0;no end", "0;no end"),
            ("\x1bPdevice\x1b\\x\x1b(B\x1b7", "x"),
            ("\x9b31mx\x9d0;t\x9cy\x90z", "xyz"),
            ("a\x00\x07\x08\tb\x7f\x85\x0c", "a\tb"),
            ("\u202eabc\u2066d\u2069\u202c", "abcd"),
            ("hi\U000e0041\U000e007f!", "hi!"),
            ("é 漢 🙂 \u200d \u200f", "é 漢 🙂 \u200d \u200f"),
        ],
    )
    def test_what_steers_a_screen_is_removed(self, text: str, clean: str) -> None:
        assert sanitize_output(text) == clean

    @given(st.text("\x1b\x9b\x9d\x9c\x07[]0;m\\\r\n\u202eab", max_size=20))
    def test_twice_is_once(self, text: str) -> None:
        once = sanitize_output(text)
        assert sanitize_output(once) == once
        assert not set(once) & set("\x1b\x9b\x9d\x9c\x07\r\u202e")


class TestTruncate:
    @given(st.text("aé漢🙂", min_size=60, max_size=600), st.integers(256, 700))
    def test_head_and_tail_stay_and_the_rest_is_counted(self, text: str, limit: int) -> None:
        cut = truncate_output(text, limit)
        size = len(text.encode())
        assert cut.original_bytes == size
        if size <= limit:
            assert (cut.text, cut.truncated, cut.omitted_bytes) == (text, False, 0)
            return
        marker = f"\n[... {cut.omitted_bytes} bytes omitted ...]\n"
        head, _, tail = cut.text.partition(marker)
        assert cut.truncated
        assert len(cut.text.encode()) <= limit
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head.encode()) + len(tail.encode()) + cut.omitted_bytes == size
        room = limit - 64
        assert room // 2 - 3 <= len(head.encode()) <= room // 2
        assert room - room // 2 - 3 <= len(tail.encode()) <= room - room // 2

    def test_half_a_surrogate_pair_is_counted_too(self) -> None:
        assert truncate_output("\ud800" * 100, 256).original_bytes == 300

    @pytest.mark.parametrize("limit", [255, 0, -1, True])
    def test_a_limit_below_256_is_refused(self, limit: int) -> None:
        error = refusal(lambda: truncate_output("x", limit))
        assert_refused(error, "invalid_field", "limit_bytes", "256")
