"""An answer that comes in chunks: what is shown, what is held back, and that nothing is lost."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.directives import (
    StreamingDirectiveAccumulator,
    StreamingDirectives,
    has_renderable_streaming_content,
    parse_reply_directives,
    parse_streaming_chunk,
)
from tests.unit.test_directives import TAG_PIECES, tagged_texts


def feed(*chunks: str) -> list[StreamingDirectives | None]:
    """The results of an accumulator for these chunks, the last one final."""
    accumulator = StreamingDirectiveAccumulator()
    results = [accumulator.consume(chunk) for chunk in chunks[:-1]]
    return [*results, accumulator.consume(chunks[-1], final=True)]


def texts(results: list[StreamingDirectives | None]) -> list[str | None]:
    return [result.text if result else None for result in results]


def without_runs(text: str) -> str:
    return " ".join(text.split())


def cut(text: str, places: list[int]) -> list[str]:
    """The text cut at the given places."""
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


class TestOneChunk:
    """§1.8: a chunk on its own."""

    @pytest.mark.parametrize(
        ("raw", "found"),
        [
            (None, StreamingDirectives()),
            ("", StreamingDirectives()),
            (" hello ", StreamingDirectives(text=" hello ")),
            (
                "so [[reply_to:$k]] yes",
                StreamingDirectives(text="so yes", reply_to_explicit_id="$k", has_reply_tag=True),
            ),
            (
                "[[reply_to_current]] go ",
                StreamingDirectives(text="go ", reply_to_current=True, has_reply_tag=True),
            ),
            (
                "[[reply_to:$k]][[reply_to_current]]",
                StreamingDirectives(reply_to_explicit_id="$k", has_reply_tag=True),
            ),
            ("\n[[audio_as_voice]]\n", StreamingDirectives(text="\n\n", audio_as_voice=True)),
            ("a [[b]] [", StreamingDirectives(text="a [[b]] [")),
            ("NO_RE", StreamingDirectives(is_silent=True)),
            (" no_re", StreamingDirectives(is_silent=True)),
            ("NO_REPLY \n", StreamingDirectives(is_silent=True)),
            ("NO", StreamingDirectives(text="NO")),
            (
                "[[audio_as_voice]] NO_REPLY",
                StreamingDirectives(audio_as_voice=True, is_silent=True),
            ),
        ],
    )
    def test_it_is_read_without_memory(self, raw: str | None, found: StreamingDirectives) -> None:
        assert parse_streaming_chunk(raw) == found

    @pytest.mark.parametrize(
        ("result", "is_renderable"),
        [
            (None, False),
            (StreamingDirectives(), False),
            (StreamingDirectives(text=" "), True),
            (StreamingDirectives(audio_as_voice=True), True),
            (StreamingDirectives(has_reply_tag=True, reply_to_explicit_id="$k"), False),
            (StreamingDirectives(is_silent=True), False),
        ],
    )
    def test_text_or_voice_is_worth_passing_on(
        self, result: StreamingDirectives | None, is_renderable: bool
    ) -> None:
        assert has_renderable_streaming_content(result) is is_renderable


class TestTails:
    """§1.9, 1 to 3: tags that come in parts."""

    def test_an_unfinished_tag_is_held_back(self) -> None:
        assert feed("see [[reply_to_", "current]] here") == [
            StreamingDirectives(text="see "),
            StreamingDirectives(text="here", reply_to_current=True, has_reply_tag=True),
        ]

    def test_brackets_may_come_one_by_one(self) -> None:
        chunks = ["a [", "[", "audio_as_voice", "]", "]", "b"]
        assert texts(feed(*chunks)) == ["a ", None, None, None, "", "b"]

    def test_what_turns_out_to_be_no_tag_is_shown(self) -> None:
        assert texts(feed("a [[reply", " me]]")) == ["a ", "[[reply me]]"]

    def test_the_end_shows_an_unfinished_tag(self) -> None:
        assert texts(feed("a [[reply_to: b", "")) == ["a ", "[[reply_to: b"]

    @pytest.mark.parametrize(
        ("chunks", "shown"),
        [
            (["a", "[[audio_as_voice]]", "b"], "a b"),
            (["a ", " [[audio_as_voice]] ", " b"], "a b"),
            (["a\t", "[[audio_as_voice]]", "b"], "a\tb"),
            (["a\n", "[[audio_as_voice]]", " b"], "a\nb"),
            (["a", "[[audio_as_voice]] ", "\t", "\nb"], "a\nb"),
            (["a", "[[audio_as_voice]]", "[[audio_as_voice]]", "b"], "a b"),
            (["[[audio_as_voice]]", " ", "b"], "b"),
            ([" \v", "[[audio_as_voice]]", "b"], "b"),
            (["NO", "[[audio_as_voice]]", "PE"], "NO PE"),
            (["NO_REPLY\t", "[[audio_as_voice]]", "b"], "NO_REPLY\tb"),
        ],
    )
    def test_a_removed_tag_is_remembered_over_chunks(self, chunks: list[str], shown: str) -> None:
        assert "".join(text or "" for text in texts(feed(*chunks))) == shown


class TestReplyState:
    """§1.9, 4 and 6: where the answer goes."""

    def test_it_is_kept_for_later_results(self) -> None:
        assert feed("[[reply_to_current]]", "A", "b") == [
            None,
            StreamingDirectives(text="A", reply_to_current=True, has_reply_tag=True),
            StreamingDirectives(text="b", reply_to_current=True, has_reply_tag=True),
        ]

    def test_a_new_id_replaces_the_old_one_and_beats_current(self) -> None:
        results = feed("[[reply_to:$a]]x", "[[reply_to:$b]]y", "[[reply_to_current]]z")
        assert [(r.reply_to_explicit_id, r.reply_to_current) for r in results if r] == [
            ("$a", False),
            ("$b", False),
            ("$b", False),
        ]

    def test_voice_is_reported_once_by_the_chunk_that_completed_the_tag(self) -> None:
        results = feed("a [[audio_as_voice", "]]", "b")
        assert [result and result.audio_as_voice for result in results] == [False, True, False]


class TestSilence:
    """§1.9, 5: a stream that may be the silent token."""

    def test_the_token_is_never_shown(self) -> None:
        assert feed("NO", "_REPLY", "") == [None, None, None]
        assert feed(" \n NO_REPLY", " \n", "\t") == [None, None, None]

    def test_voice_with_the_token_is_reported_as_silent(self) -> None:
        assert feed("NO_REPLY [[audio_as_voice]]") == [
            StreamingDirectives(audio_as_voice=True, is_silent=True)
        ]

    @pytest.mark.parametrize(
        ("chunks", "shown"),
        [
            (["NO_", "WAY"], [None, "NO_WAY"]),
            (["N", "o"], [None, "No"]),
            (["no_", "reply"], ["no_", "reply"]),
            (["NO_REPLY", "!"], [None, "NO_REPLY!"]),
            (["NO_REPLY \n", "\tx"], [None, "NO_REPLY \n\tx"]),
            (["NO_REPLY x"], ["NO_REPLY x"]),
            (["  NO", "NE"], [None, "NONE"]),
            (["NO", ""], [None, "NO"]),
            (["NO_REPL"], ["NO_REPL"]),
            (["a", "NO_REPLY"], ["a", "NO_REPLY"]),
            (["NO", "[[reply_to_current]]", "_REPLY"], [None, None, "NO _REPLY"]),
        ],
    )
    def test_what_differs_is_released_in_full(
        self, chunks: list[str], shown: list[str | None]
    ) -> None:
        assert texts(feed(*chunks)) == shown

    def test_leading_whitespace_is_dropped_and_later_whitespace_is_not(self) -> None:
        assert texts(feed(" \n", "\va", " \n", " b ")) == [None, "a", " \n", " b "]


class TestUse:
    """The accumulator as such."""

    def test_nothing_to_process_gives_nothing(self) -> None:
        accumulator = StreamingDirectiveAccumulator()
        assert accumulator.consume(None) is None
        assert accumulator.consume("") is None
        assert accumulator.consume(None, final=True) is None

    def test_after_the_final_chunk_there_is_nothing_more(self) -> None:
        accumulator = StreamingDirectiveAccumulator()
        assert accumulator.consume("a", final=True) == StreamingDirectives(text="a")
        assert accumulator.consume("b") is None
        assert accumulator.consume("c", final=True) is None


class TestGuarantee:
    """However a text is cut, joining the results gives the whole answer."""

    @given(tagged_texts, st.lists(st.integers(0, 400), max_size=8))
    @example("NO_REPLY\v[[reply_to_current]] \n", [8, 9, 20])
    @example("a [[reply_to: b\n]]c", [3, 15, 16, 17])
    def test_for_any_cut(self, text: str, places: list[int]) -> None:
        check_guarantee(text, cut(text, places))

    @given(tagged_texts)
    def test_for_single_characters(self, text: str) -> None:
        check_guarantee(text, [*text, ""])

    @given(st.lists(st.sampled_from(TAG_PIECES), max_size=6).map("".join))
    def test_for_every_cut_in_two(self, text: str) -> None:
        for place in range(len(text) + 1):
            check_guarantee(text, [text[:place], text[place:]])

    @given(tagged_texts, st.lists(st.integers(0, 400), max_size=8))
    def test_the_last_text_knows_the_target(self, text: str, places: list[int]) -> None:
        text += "\nend"
        whole = parse_reply_directives(text)
        last = [result for result in feed(*cut(text, places)) if result and result.text][-1]
        assert last.reply_to_explicit_id == whole.reply_to_explicit_id
        assert last.reply_to_current is whole.reply_to_current
        assert last.has_reply_tag is whole.has_reply_tag


def check_guarantee(text: str, chunks: list[str]) -> None:
    whole = parse_reply_directives(text)
    results = [result for result in feed(*chunks) if result]
    assert without_runs("".join(r.text for r in results)) == without_runs(whole.text)
    assert any(r.audio_as_voice for r in results) is whole.audio_as_voice
    for result in results:
        assert has_renderable_streaming_content(result)
        assert not (result.reply_to_current and result.reply_to_explicit_id)
