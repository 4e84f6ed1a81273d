"""Matching messages and events (triggers-and-actions.md §2 and §14)."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DomainError
from domain.trigger_pattern import compile_pattern
from domain.triggers import (
    EventMatch,
    EventTrigger,
    IncomingMessage,
    SystemEvent,
    SystemEventMatch,
    SystemEventTrigger,
    match_event,
    match_system_event,
)


def match(pattern: str, text: str, *, channel: str | None = None, **message: Any) -> EventMatch:
    incoming = IncomingMessage.model_validate({"channel": "slack", "text": text, **message})
    return match_event(EventTrigger(channel=channel, pattern=pattern), incoming)


class TestMessages:
    def test_a_match_tells_what_matched(self) -> None:
        result = match(r"deploy (?P<what>\w+)(?: to (\w+))?", "please deploy app now")
        assert result.model_dump() == {
            "matched": True,
            "reason": None,
            "groups": ["app", None],
            "named_groups": {"what": "app"},
            "matched_text": "deploy app",
            "truncated": False,
        }

    def test_a_group_that_matched_nothing_is_empty_not_null(self) -> None:
        assert match("(a?)(b)?", "c").groups == ["", None]

    def test_without_a_match_there_is_nothing_to_tell(self) -> None:
        assert match("x", "y").model_dump() == {
            "matched": False,
            "reason": "pattern",
            "groups": [],
            "named_groups": {},
            "matched_text": None,
            "truncated": False,
        }

    @pytest.mark.parametrize(
        ("pattern", "text", "matched"),
        [
            pytest.param("deploy", "Please deploy it", "deploy", id="unanchored"),
            pytest.param("deploy", "DEPLOY", None, id="case-sensitive"),
            pytest.param("(?i)deploy", "DEPLOY", "DEPLOY", id="inline i"),
            pytest.param("(?i)straße", "STRAßE", "STRAßE", id="inline i is Unicode"),
            pytest.param("a.b", "a\nb", None, id="the dot stops at a newline"),
            pytest.param("(?s)a.b", "a\nb", "a\nb", id="inline s"),
            pytest.param("^b", "a\nb", None, id="^ is the start of the text"),
            pytest.param("a$", "a\n", None, id="$ is the end of the text"),
            pytest.param("(?m)^b$", "a\nb\nc", "b", id="inline m"),
            pytest.param(r"\w+", "äb", "b", id="words are ASCII"),
            pytest.param(r"\d", "٥", None, id="digits are ASCII"),
            pytest.param(r"\bb", "äb", "b", id="word borders are ASCII"),
            pytest.param(r"\p{L}+", "1äb2", "äb", id="Unicode classes"),
            pytest.param(r"\p{Greek}", "aλ", "λ", id="Unicode scripts"),
            pytest.param(" a ", "x a y", " a ", id="blanks of the pattern count"),
            pytest.param(".*", "", "", id="an empty text matches .*"),
            pytest.param(".", "🙂", "🙂", id="the dot is a character"),
            pytest.param("[^a]b", "🙂b", "🙂b", id="astral characters in a class"),
            pytest.param("a|ab", "ab", "a", id="leftmost, not longest"),
            pytest.param("\x00", "a\x00b", "\x00", id="NUL"),
        ],
    )
    def test_the_language_of_patterns(self, pattern: str, text: str, matched: str | None) -> None:
        result = match(pattern, text)
        assert result.matched is (matched is not None)
        assert result.matched_text == matched

    def test_characters_before_a_match_do_not_shift_it(self) -> None:
        result = match(r"(?P<ä>ü🙂)(b)", "é🙂𝒳 ü🙂b")
        assert result.groups == ["ü🙂", "b"]
        assert result.named_groups == {"ä": "ü🙂"}

    def test_a_single_byte_of_a_character_is_shown_as_replaced(self) -> None:
        assert match(r"(\C)", "é").groups == ["\ufffd"]

    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            pytest.param("a\ud800b", "a\ufffdb", id="high half alone"),
            pytest.param("a\udc00b", "a\ufffdb", id="low half alone"),
            pytest.param("a\ud83d\ude42b", "a🙂b", id="two halves are their character"),
        ],
    )
    def test_halves_of_surrogate_pairs_do_no_harm(self, text: str, seen: str) -> None:
        trigger = EventTrigger(pattern="a(.)b")
        result = match_event(trigger, {"channel": "slack", "text": text})
        assert (result.matched_text, result.groups) == (seen, [seen[1]])
        assert EventMatch.model_validate_json(result.model_dump_json()) == result

    def test_a_text_must_be_a_text(self) -> None:
        with pytest.raises(ValueError, match="text"):
            match_event(EventTrigger(pattern="a"), {"text": 5})

    @given(st.text(max_size=30), st.text(alphabet="aä🙂b", min_size=1, max_size=3))
    def test_a_quoted_text_is_found_exactly_where_it_stands(self, text: str, part: str) -> None:
        result = match(re.escape(part), text)
        assert result.matched == (part in text)
        assert result.matched_text == (part if part in text else None)


class TestTruncation:
    @pytest.mark.parametrize(
        ("text", "truncated", "kept"),
        [
            pytest.param("a" * 65_536, False, 65_536, id="exactly the limit"),
            pytest.param("a" * 65_537, True, 65_536, id="one byte more"),
            pytest.param("a" * 65_535 + "ä", True, 65_535, id="never inside a character"),
            pytest.param("🙂" * 16_384, False, 16_384, id="bytes are counted, not characters"),
            pytest.param("a" * 65_534 + "🙂", True, 65_534, id="four bytes"),
        ],
    )
    def test_a_text_is_cut_at_a_character(self, text: str, truncated: bool, kept: int) -> None:
        result = match("(?s).*", text)
        assert result.truncated is truncated
        assert result.matched_text == text[:kept]

    def test_what_is_cut_off_is_not_matched_and_that_is_told(self) -> None:
        result = match("end$", "a" * 65_536 + "end")
        assert (result.matched, result.reason, result.truncated) == (False, "pattern", True)
        assert match("x", "a" * 70_000, is_self=True).truncated


class TestSelfAndChannel:
    @pytest.mark.parametrize(
        ("message", "self_ids", "reason"),
        [
            ({"is_self": True}, [], "self"),
            ({"author_id": "bot"}, ["bot", "bot2"], "self"),
            ({"author_id": "bot"}, ["Bot"], None),
            ({"author_id": "bot"}, [], None),
            ({"author_id": ""}, [""], None),
            ({"author_id": None}, ["bot"], None),
            ({"is_self": False, "author_id": "ann"}, ["bot"], None),
        ],
    )
    def test_what_the_adapter_said_itself_matches_nothing(
        self, message: dict[str, Any], self_ids: list[str], reason: str | None
    ) -> None:
        trigger = EventTrigger(pattern=".")
        result = match_event(trigger, {"channel": "slack", "text": "x", **message}, self_ids)
        assert result.reason == reason

    @pytest.mark.parametrize(
        ("wanted", "channel", "matched"),
        [
            (None, "slack", True),
            (None, None, True),
            ("slack", "slack", True),
            ("slack", " Slack ", True),
            (" SLACK", "slack", True),
            ("slack", "slack2", False),
            ("slack", "", False),
            ("slack", None, False),
        ],
    )
    def test_a_channel_is_equal_after_trimming_and_lower_casing(
        self, wanted: str | None, channel: str | None, matched: bool
    ) -> None:
        result = match_event(
            EventTrigger(channel=wanted, pattern="."), {"channel": channel, "text": "x"}
        )
        assert result.matched is matched
        assert result.reason == (None if matched else "channel")

    def test_the_order_is_self_channel_pattern(self) -> None:
        assert match("x", "y", channel="irc", is_self=True).reason == "self"
        assert match("x", "y", channel="irc").reason == "channel"
        assert match("x", "y", channel="slack").reason == "pattern"


class TestPatterns:
    @pytest.mark.parametrize(
        "pattern", ["(?=x)", "(?!x)", "(?<=x)y", "(?<!x)y", "a(?:b(?=c))", "(?<="]
    )
    def test_look_around_is_called_by_its_name(self, pattern: str) -> None:
        with pytest.raises(DomainError, match=r"RE2.*|look-around") as caught:
            compile_pattern(pattern)
        assert "look-around" in caught.value.message
        assert "RE2" in caught.value.message

    @pytest.mark.parametrize(
        "pattern", [r"(a)\1", r"(a)\9", r"(?P<n>a)(?P=n)", r"(?<n>a)\k<n>", r"(a)\g1", r"(a)\g{1}"]
    )
    def test_back_references_are_called_by_their_name(self, pattern: str) -> None:
        with pytest.raises(DomainError, match="RE2") as caught:
            compile_pattern(pattern)
        assert "back-reference" in caught.value.message

    @pytest.mark.parametrize(
        "pattern",
        [
            "(",
            ")",
            "[a",
            "a**",
            "a++",
            "(?>a)",
            "(?P>n)",
            "(?x)a",
            r"\Z",
            r"\pX",
            "a{1001}",
            r"\pL{1000}",
            "[b-a]",
            "[\\1: (?=",
            "(?P<n",
            "\\",
        ],
    )
    def test_every_other_error_names_re2(self, pattern: str) -> None:
        with pytest.raises(DomainError, match="RE2") as caught:
            compile_pattern(pattern, "trigger.pattern")
        assert caught.value.field == "trigger.pattern"
        assert "look-around" not in caught.value.message

    @pytest.mark.parametrize(
        "pattern", [r"\(?=x", r"[(?=]", r"\Q(?=x)\1\E", r"\\1", "(?:a)", "(?P<n>a)"]
    )
    def test_what_only_looks_unsupported_is_accepted(self, pattern: str) -> None:
        compile_pattern(pattern)

    def test_nothing_is_written_to_stderr(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(DomainError):
            compile_pattern("(secret")
        assert capfd.readouterr().err == ""


def match_payload(
    payload: dict[str, object],
    filters: dict[str, str] | None = None,
    *,
    wanted: str = "issue.opened",
    **event: Any,
) -> SystemEventMatch:
    trigger = SystemEventTrigger(source="github", event_type=wanted, filters=filters or {})
    default = {"source": "github", "event_type": "issue.opened", "payload": payload}
    return match_system_event(trigger, SystemEvent.model_validate({**default, **event}))


class TestSystemEvents:
    def test_without_filters_any_payload_matches(self) -> None:
        assert match_payload({"anything": 1}).model_dump() == {
            "matched": True,
            "reason": None,
            "filter": None,
        }

    @pytest.mark.parametrize("source", ["GitHub", "github ", "git", "github.x"])
    def test_a_source_is_exact(self, source: str) -> None:
        assert match_payload({}, source=source).reason == "source"

    @pytest.mark.parametrize(
        ("wanted", "event_type", "matched"),
        [
            ("issue.opened", "issue.opened", True),
            ("issue.opened", "Issue.opened", False),
            ("issue.opened", "issue.opened.x", False),
            ("issue", "issue.opened", False),
            ("issue.*", "issue.opened", True),
            ("issue.*", "issue.a.b", True),
            ("issue.*", "issue.", False),
            ("issue.*", "issue", False),
            ("issue.*", "issues.opened", False),
            ("issue.*", "Issue.opened", False),
            ("a.b.*", "a.bc", False),
        ],
    )
    def test_a_type_is_exact_or_longer_than_its_wildcard(
        self, wanted: str, event_type: str, matched: bool
    ) -> None:
        result = match_payload({}, wanted=wanted, event_type=event_type)
        assert result.reason == (None if matched else "event_type")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("x", "x"),
            (" x ", " x "),
            ("", ""),
            ("42", "42"),
            (42, "42"),
            (42.0, "42.0"),
            (1.5, "1.5"),
            (-3, "-3"),
            (10**30, "1" + "0" * 30),
            (True, "true"),
            (False, "false"),
            ("true", "true"),
        ],
    )
    def test_a_scalar_equals_its_text(self, value: object, text: str) -> None:
        assert match_payload({"k": value}, {"k": text}).matched

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("X", "x"),
            ("x ", "x"),
            ("xy", "x*"),
            (42, "42.0"),
            (42.0, "42"),
            (True, "True"),
            (True, "1"),
            (1, "true"),
            (None, "null"),
            (None, ""),
            ([], "[]"),
            (["x"], "x"),
            ({}, "{}"),
        ],
    )
    def test_nothing_is_folded_trimmed_or_globbed(self, value: object, text: str) -> None:
        assert match_payload({"k": value}, {"k": text}).model_dump() == {
            "matched": False,
            "reason": "filter",
            "filter": "k",
        }

    def test_a_key_is_exact_and_at_top_level(self) -> None:
        assert match_payload({"a.b": "x"}, {"a.b": "x"}).matched
        assert match_payload({"a": {"b": "x"}}, {"a.b": "x"}).filter == "a.b"
        assert match_payload({}, {"a": ""}).filter == "a"

    def test_the_first_filter_that_refuses_is_named(self) -> None:
        filters = {"z": "1", "b": "2", "a": "3"}
        assert match_payload({"z": 1}, filters).filter == "b"
        assert match_payload({"z": 1, "b": 2}, filters).filter == "a"

    @pytest.mark.parametrize(("hop", "reason"), [(0, None), (8, None), (9, "hop_limit")])
    def test_hops_are_limited(self, hop: int, reason: str | None) -> None:
        assert match_payload({}, hop=hop).reason == reason

    def test_the_limit_of_hops_may_be_another(self) -> None:
        trigger = SystemEventTrigger(source="a", event_type="b")
        event = {"source": "a", "event_type": "b", "payload": {}, "hop": 3}
        assert match_system_event(trigger, event, hop_limit=3).matched
        assert match_system_event(trigger, event, hop_limit=2).reason == "hop_limit"

    def test_the_order_is_source_type_filters_hops(self) -> None:
        wrong: dict[str, Any] = {"source": "x", "event_type": "y", "hop": 99}
        assert match_payload({}, {"k": "v"}, **wrong).reason == "source"
        del wrong["source"]
        assert match_payload({}, {"k": "v"}, **wrong).reason == "event_type"
        del wrong["event_type"]
        assert match_payload({}, {"k": "v"}, **wrong).reason == "filter"
        assert match_payload({}, {}, **wrong).reason == "hop_limit"

    @pytest.mark.parametrize("event", [{}, {"payload": None}])
    def test_an_event_may_have_no_payload(self, event: dict[str, Any]) -> None:
        trigger = SystemEventTrigger(source="a", event_type="b")
        assert match_system_event(trigger, {"source": "a", "event_type": "b", **event}).matched
