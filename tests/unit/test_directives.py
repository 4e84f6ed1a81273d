"""The tags of a complete answer: what counts as one, what it asks for, what removing it leaves."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.directive_tags import find_tags
from domain.directives import (
    SILENT_REPLY_TOKEN,
    InlineDirectives,
    ReplyDirectives,
    is_silent_reply_prefix_text,
    is_silent_reply_text,
    parse_inline_directives,
    parse_reply_directives,
    split_trailing_directive,
)

# Texts in which tags, near-tags and their surroundings are likely to meet.
TAG_PIECES = (
    "[[audio_as_voice]]",
    "[[reply_to_current]]",
    "[[reply_to: $m]]",
    "[[Reply_To :\n$n ]]",
    "[[reply_to: ]]",
    "[[reply_to: a\nb]]",
    "[[reply_to",
    "[[",
    "]]",
    "[",
    "]",
    ":",
    " ",
    "\t",
    "\n",
    "\r",
    "\v",
    "\xa0",
    "a",
    "NO_",
    "REPLY",
    "é",
    "😀",
    "\ud800",
)
tagged_texts = st.lists(st.sampled_from(TAG_PIECES), max_size=14).map("".join)


class TestGrammar:
    """§1.1: what is a tag."""

    @pytest.mark.parametrize(
        "tag",
        [
            "[[audio_as_voice]]",
            "[[ audio_as_voice ]]",
            "[[\t\n\r\f audio_as_voice\f\r\n\t]]",
            "[[Audio_As_VOICE]]",
        ],
    )
    def test_an_audio_tag_may_have_blanks_and_any_case(self, tag: str) -> None:
        assert parse_inline_directives(tag) == InlineDirectives(
            audio_as_voice=True, has_audio_tag=True
        )

    @pytest.mark.parametrize(
        "tag",
        [
            "[[reply_to_current]]",
            "[[ REPLY_TO_CURRENT\n]]",
            "[[reply_to:]]",
            "[[reply_to: ]]",
            "[[reply_to \t: \n ]]",
        ],
    )
    def test_a_current_tag_is_the_keyword_or_an_empty_id(self, tag: str) -> None:
        found = parse_inline_directives(tag, current_message_id=" $e ")
        assert found == InlineDirectives(
            reply_to_id="$e", reply_to_current=True, has_reply_tag=True
        )

    @pytest.mark.parametrize(
        ("tag", "reply_to_id"),
        [
            ("[[reply_to:$m]]", "$m"),
            ("[[reply_to: $m ]]", "$m"),
            ("[[reply_to\n:\n$m\n]]", "$m"),
            ("[[rePLY_to: Keep Case ]]", "Keep Case"),
            ("[[reply_to: two  words\t: here]]", "two  words\t: here"),
            ("[[reply_to:\xa0\v$m\u2028]]", "$m"),
            ("[[reply_to: \0😀\ud800\u202eא]]", "\0😀\ud800\u202eא"),
            ("[[reply_to:reply_to_current]]", "reply_to_current"),
        ],
    )
    def test_an_id_is_trimmed_and_may_hold_anything_else(self, tag: str, reply_to_id: str) -> None:
        found = parse_inline_directives(tag)
        assert found == InlineDirectives(
            reply_to_id=reply_to_id, reply_to_explicit_id=reply_to_id, has_reply_tag=True
        )

    @pytest.mark.parametrize(
        "text",
        [
            "ask [[Main Page]]",
            "[[]]",
            "[[ ]]",
            "[reply_to_current]",
            "[[reply_to_currents]]",
            "[[reply_to]]",
            "[[reply_to $m]]",
            "[[reply_to_current: $m]]",
            "[[audio_as_voice:]]",
            "[[audio as voice]]",
            "[[reply_to: a\nb]]",
            "[[reply_to: a\rb]]",
            "[[reply_to: a]b]]",
            "[[reply_to_current]",
            "[[reply_to_current] ]",
            "[ [reply_to_current]]",
            "[[\vreply_to_current]]",
            "[[\xa0reply_to_current]]",
            "[[audıo_as_voice]]",
            "[[audİo_as_voice]]",
            "[[audio_aſ_voice]]",
            "[[reply_to：$m]]",
        ],
    )
    def test_anything_else_in_brackets_is_text(self, text: str) -> None:
        assert parse_inline_directives(text) == InlineDirectives(text=text)

    def test_an_id_cannot_hold_a_bracket_so_the_inner_tag_counts(self) -> None:
        found = parse_reply_directives("[[reply_to: $a [[reply_to: $b]]")
        assert found.reply_to_id == "$b"
        assert found.text == "[[reply_to: $a"

    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("[[[reply_to_current]]", "["),
            ("[[reply_to_current]]]", "]"),
            ("[[[reply_to_current]]]", "[ ]"),
            ("[[[[reply_to_current]]]]", "[[ ]]"),
        ],
    )
    def test_brackets_around_a_tag_are_text(self, text: str, left: str) -> None:
        assert parse_inline_directives(text).text == left

    def test_a_tag_has_at_most_512_characters(self) -> None:
        longest = "[[reply_to:" + "x" * 499 + "]]"
        assert len(longest) == 512
        assert parse_inline_directives(longest).reply_to_explicit_id == "x" * 499
        too_long = "[[reply_to:" + "x" * 500 + "]]"
        assert parse_inline_directives(too_long) == InlineDirectives(text=too_long)

    def test_tags_count_inside_code(self) -> None:
        assert parse_inline_directives("```\n[[audio_as_voice]]\n```").text == "```\n\n```"


class TestSeveralTags:
    """§1.1: several tags in one text."""

    @pytest.mark.parametrize(
        ("text", "explicit", "current"),
        [
            ("[[reply_to:a]] [[reply_to:b]]", "b", False),
            ("[[reply_to_current]] [[reply_to:a]]", "a", False),
            ("[[reply_to:a]] [[reply_to_current]]", "a", False),
            ("[[reply_to:a]] [[reply_to:]]", "a", False),
            ("[[reply_to_current]] [[reply_to_current]]", "", True),
        ],
    )
    def test_the_last_explicit_id_wins(self, text: str, explicit: str, current: bool) -> None:
        found = parse_inline_directives(text, current_message_id="$e")
        assert found.reply_to_explicit_id == explicit
        assert found.reply_to_current is current
        assert found.reply_to_id == (explicit or "$e")

    def test_any_audio_tag_counts(self) -> None:
        found = parse_inline_directives("a [[audio_as_voice]] b [[reply_to:x]] c")
        assert found.audio_as_voice
        assert found.has_reply_tag
        assert found.text == "a b c"

    def test_without_a_reply_tag_the_current_message_is_no_target(self) -> None:
        assert parse_inline_directives("a", current_message_id="$e").reply_to_id == ""


class TestRemoving:
    """§1.2: only the surroundings of a removed tag change."""

    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("a[[audio_as_voice]]b", "a b"),
            ("a \t[[audio_as_voice]]\t b", "a b"),
            ("a [[audio_as_voice]] \t[[reply_to:x]][[reply_to_current]] b", "a b"),
            ("a [[audio_as_voice]]\nb", "a\nb"),
            ("a\n[[audio_as_voice]] b", "a\nb"),
            ("a\r[[audio_as_voice]]\rb", "a\r\rb"),
            ("a\n\n  [[audio_as_voice]]  \n\nb", "a\n\n\n\nb"),
            ("[[audio_as_voice]]  a", "a"),
            ("a  [[audio_as_voice]]", "a"),
            ("a\v[[audio_as_voice]]b", "a\v b"),
            ("a\xa0[[audio_as_voice]]\xa0b", "a\xa0 \xa0b"),
            ("a\u2028[[audio_as_voice]]b", "a\u2028 b"),
            ("a [[x]] [[audio_as_voice]] [[y]] b", "a [[x]] [[y]] b"),
            ("if x:\n    y()  # a   b\n\n[[audio_as_voice]]", "if x:\n    y()  # a   b"),
            ("  a", "a"),
            ("[[audio_as_voice]]", ""),
            ("a [[audio_as_voice]] . [[reply_to:x]] b", "a . b"),
        ],
    )
    def test_a_removed_tag_leaves_one_space_or_nothing(self, text: str, left: str) -> None:
        assert parse_inline_directives(text).text == left

    @pytest.mark.parametrize(
        ("strip_audio_tag", "strip_reply_tags", "left"),
        [
            (True, True, "a b"),
            (False, True, "a [[audio_as_voice]] b"),
            (True, False, "a [[reply_to:x]] b"),
            (False, False, "a [[audio_as_voice]]\t[[reply_to:x]] b"),
        ],
    )
    def test_a_kept_tag_is_ordinary_text_and_counts_all_the_same(
        self, strip_audio_tag: bool, strip_reply_tags: bool, left: str
    ) -> None:
        found = parse_inline_directives(
            "a [[audio_as_voice]]\t[[reply_to:x]] b",
            strip_audio_tag=strip_audio_tag,
            strip_reply_tags=strip_reply_tags,
        )
        assert found == InlineDirectives(
            text=left,
            audio_as_voice=True,
            has_audio_tag=True,
            has_reply_tag=True,
            reply_to_id="x",
            reply_to_explicit_id="x",
        )

    @given(tagged_texts)
    def test_removing_agrees_with_a_plain_reading_of_the_rule(self, text: str) -> None:
        assert parse_inline_directives(text).text == plain_removal(text)

    @given(tagged_texts)
    def test_text_without_double_brackets_is_only_trimmed(self, text: str) -> None:
        plain = text.replace("[", "(")
        assert parse_inline_directives(plain).text == plain.strip()


def plain_removal(text: str) -> str:
    """The rule of §1.2 word for word, however slow."""
    tag = re.compile(
        r"\[\[[ \t\n\r\f]*(?:audio_as_voice|reply_to_current|reply_to[ \t\n\r\f]*:([^\[\]]*))"
        r"[ \t\n\r\f]*\]\]",
        re.ASCII | re.IGNORECASE,
    )
    spans = [
        match.span()
        for match in tag.finditer(text)
        if match.end() - match.start() <= 512 and not re.search(r"[\r\n]", (match[1] or "").strip())
    ]
    left, position = "", 0
    while spans:
        start, end = spans.pop(0)
        while spans and not text[end : spans[0][0]].strip(" \t"):
            end = spans.pop(0)[1]
        before = (left + text[position:start]).rstrip(" \t")
        after = text[end:].lstrip(" \t")
        position = len(text) - len(after)
        is_inside = before and after and before[-1] not in "\r\n" and after[0] not in "\r\n"
        left = before + (" " if is_inside else "")
    return (left + text[position:]).strip()


class TestReplyDirectives:
    """§1.4: a complete answer."""

    def test_the_tag_goes_and_the_target_stays(self) -> None:
        assert parse_reply_directives("[[reply_to_current]] Done.", "$e1") == ReplyDirectives(
            text="Done.", reply_to_id="$e1", reply_to_current=True, has_reply_tag=True
        )

    def test_an_explicit_id_beats_the_current_message(self) -> None:
        found = parse_reply_directives("[[reply_to_current]] a [[reply_to:$z]]", "$e1")
        assert (found.reply_to_id, found.reply_to_current, found.text) == ("$z", False, "a")

    def test_a_silent_answer_has_no_text_and_keeps_the_rest(self) -> None:
        assert parse_reply_directives(
            "[[audio_as_voice]] NO_REPLY [[reply_to: $m]]"
        ) == ReplyDirectives(
            reply_to_id="$m",
            reply_to_explicit_id="$m",
            has_reply_tag=True,
            audio_as_voice=True,
            is_silent=True,
        )

    @pytest.mark.parametrize("text", ["NO_REPLY - or not", "no_reply", "NO_REPLY."])
    def test_more_than_the_token_is_an_answer(self, text: str) -> None:
        assert parse_reply_directives(text) == ReplyDirectives(text=text)

    def test_indentation_survives(self) -> None:
        assert parse_reply_directives("if x:\n    y()").text == "if x:\n    y()"

    def test_nothing_gives_the_defaults(self) -> None:
        assert parse_reply_directives(None, None) == ReplyDirectives()
        assert parse_inline_directives("", current_message_id="$e") == InlineDirectives()

    def test_a_kept_tag_is_part_of_the_text_that_must_be_silent(self) -> None:
        kept = parse_inline_directives("[[audio_as_voice]] NO_REPLY", strip_audio_tag=False)
        removed = parse_inline_directives("[[audio_as_voice]] NO_REPLY")
        assert not kept.is_silent
        assert removed.is_silent
        assert removed.text == SILENT_REPLY_TOKEN


class TestSilentReply:
    """§1.5 and §1.6: the token, whole or still being typed."""

    @pytest.mark.parametrize(
        ("text", "token", "is_silent"),
        [
            ("NO_REPLY", SILENT_REPLY_TOKEN, True),
            ("\xa0NO_REPLY\n", SILENT_REPLY_TOKEN, True),
            ("NO_REPLY!", SILENT_REPLY_TOKEN, False),
            ("no_reply", SILENT_REPLY_TOKEN, False),
            ("", SILENT_REPLY_TOKEN, False),
            (None, SILENT_REPLY_TOKEN, False),
            (" ", " ", False),
            ("HUSH", " HUSH ", True),
            ("NO_REPLY", "HUSH", False),
            ("NO_REPLY", " ", True),
            ("NO_REPLY", None, True),
        ],
    )
    def test_the_whole_token(self, text: str | None, token: str | None, is_silent: bool) -> None:
        assert is_silent_reply_text(text, token) is is_silent

    @pytest.mark.parametrize(
        ("text", "token", "is_prefix"),
        [
            ("NO_R", SILENT_REPLY_TOKEN, True),
            ("no_r", SILENT_REPLY_TOKEN, True),
            (" \t\r\nNO_REPLY", SILENT_REPLY_TOKEN, True),
            ("NO_", SILENT_REPLY_TOKEN, True),
            ("NO", SILENT_REPLY_TOKEN, False),
            ("No", SILENT_REPLY_TOKEN, False),
            ("NO_R ", SILENT_REPLY_TOKEN, False),
            ("\xa0NO_R", SILENT_REPLY_TOKEN, False),
            ("NO_REPLY_", SILENT_REPLY_TOKEN, False),
            ("NO_1", SILENT_REPLY_TOKEN, False),
            ("O_R", SILENT_REPLY_TOKEN, False),
            ("", SILENT_REPLY_TOKEN, False),
            (None, SILENT_REPLY_TOKEN, False),
            ("be_q", "Be_Quiet", True),
            ("be_q", " Be_Quiet ", True),
            ("NO_R", "", True),
            ("NO_R", None, True),
        ],
    )
    def test_the_token_while_it_is_typed(
        self, text: str | None, token: str | None, is_prefix: bool
    ) -> None:
        assert is_silent_reply_prefix_text(text, token) is is_prefix


class TestSplitTrailingDirective:
    """§1.7: an unfinished tag at the end of a buffer."""

    @pytest.mark.parametrize(
        ("body", "tail"),
        [
            ("ok ", "[[reply_to: $a"),
            ("", "[["),
            ("[", "[["),
            ("", "[[ \t\r\n\f"),
            ("", "[[a"),
            ("", "[[AUDIO_as"),
            ("", "[[audio_as_voice"),
            ("", "[[audio_as_voice \n"),
            ("", "[[audio_as_voice ]"),
            ("", "[[reply_to"),
            ("", "[[reply_to_"),
            ("", "[[reply_to_current]"),
            ("", "[[reply_to "),
            ("", "[[reply_to :"),
            ("", "[[ reply_to : two words"),
            ("", "[[reply_to: a\n"),
            ("", "[[reply_to:\n a ]"),
            ("", "[[reply_to:]"),
            ("x [[y]] ", "[[r"),
            ("x ", "["),
            ("[[x]] ", "["),
            ("[[ ", "["),
            ("[[reply_to_current]]", "["),
        ],
    )
    def test_what_may_become_a_tag_is_held(self, body: str, tail: str) -> None:
        assert split_trailing_directive(body + tail) == (body, tail)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "hi",
            "if [[ -n x",
            "a [[reply_to_current]]",
            "[[reply_to_current]] b",
            "x [[foo]",
            "[[x",
            "[[]",
            "[[ ]",
            "[[reply_to]",
            "[[reply_to x",
            "[[reply_to_currentx",
            "[[reply_to_current x",
            "[[audio_as_voice:",
            "[[\xa0",
            "[[reply_to: a\nb",
            "[[reply_to: a\rb",
            "[[reply_to: a\nb]",
            "[[reply_to: a]b",
            "[[reply_to: a] ",
            "[[reply_to: a]]b",
        ],
    )
    def test_what_cannot_become_one_is_not(self, text: str) -> None:
        assert split_trailing_directive(text) == (text, "")

    def test_a_tail_is_shorter_than_a_tag_can_be(self) -> None:
        tail = "[[reply_to:" + "x" * 500
        assert len(tail) == 511
        assert split_trailing_directive("a" + tail) == ("a", tail)
        assert split_trailing_directive("a" + tail + "x") == ("a" + tail + "x", "")

    def test_nothing_is_an_empty_text(self) -> None:
        assert split_trailing_directive(None) == ("", "")

    @given(tagged_texts)
    def test_body_and_tail_are_the_text(self, text: str) -> None:
        body, tail = split_trailing_directive(text)
        assert body + tail == text
        assert len(tail) < 512

    @given(tagged_texts, tagged_texts)
    def test_no_later_text_makes_a_tag_of_what_was_let_go(self, text: str, more: str) -> None:
        body, _ = split_trailing_directive(text)
        assert not [tag for tag in find_tags(text + more) if tag.start < len(body) < tag.end]
