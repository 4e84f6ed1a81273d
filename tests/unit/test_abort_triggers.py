"""Whole messages that end the running answer."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.inbound import is_abort_trigger_text

SPECIFIED = (
    "stop · esc · abort · wait · exit · interrupt · halt · stopp · anhalten · aufhören"
    " · hoer auf · pare · arrete · arrête · detente · deten · detén · 停止 · やめて · 止めて"
    " · रुको · توقف · стоп · остановись · останови · остановить · прекрати · stop bot"
    " · bot stop · stop action · stop current action · stop run · stop current run"
    " · stop agent · stop the agent · please stop · stop please · stop don't do anything"
    " · stop dont do anything · stop do not do anything · stop doing anything"
    " · do not do that"
)
PHRASES = SPECIFIED.split(" · ")
NORMAL_PHRASES = {unicodedata.normalize("NFKC", phrase) for phrase in PHRASES}
MARGIN = "\t\r\n .!?…,，。、;；:：！？¡¿'\"“”‘’()[]{}"
PIECES = (*"stopbSTOPæ", *MARGIN, "stop", " bot", "aufho", "\u0308", "ren", "\xa0", "．", "´", "⁈")
texts = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


def plain_reading(text: str) -> bool:
    """The rule of §2.9 word for word, however slow on odd texts."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return " ".join(text.split()).strip(MARGIN).strip() in NORMAL_PHRASES


def test_the_list_has_all_phrases() -> None:
    assert len(NORMAL_PHRASES) == 42


@pytest.mark.parametrize("phrase", PHRASES)
def test_case_blanks_punctuation_and_unicode_form_do_not_count(phrase: str) -> None:
    assert is_abort_trigger_text(phrase)
    assert is_abort_trigger_text(phrase.upper())
    assert is_abort_trigger_text(f"\xa0«{phrase}»".replace("«", "¡“").replace("»", "”!!… \n"))
    assert is_abort_trigger_text(phrase.replace(" ", "\u3000\t"))
    assert is_abort_trigger_text(phrase.replace("'", "\u2019"))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert is_abort_trigger_text(unicodedata.normalize(form, phrase))


@pytest.mark.parametrize(
    "text",
    ["  Halt!! ", "停止！", "ＳＴＯＰ", "ſtop", "(stop)", "[{'stop'}]", "stop\x1cbot", "⁈stop⁉"],
)
def test_triggers(text: str) -> None:
    assert is_abort_trigger_text(text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "!!!",
        "stop, please",
        "stopwatch",
        "stop.bot",
        "stop stop",
        "st op",
        "stop-",
        "*stop*",
        "stop\u0301",
        "\u0301stop",
        "stop!\u0301",
        "stopİ",
        "stop 🛑",
        "\ud800stop",
        "st\0op",
        "stop do not do anything " * 4,
    ],
)
def test_other_texts(text: str | None) -> None:
    assert not is_abort_trigger_text(text)


def test_margins_of_any_length_do_not_count() -> None:
    assert is_abort_trigger_text("！ …\u2002" * 5000 + "stop" + "⁇ \r\n" * 5000)
    assert is_abort_trigger_text("stop" + " " * 5000 + "bot")


def test_a_long_run_of_combining_marks_is_looked_at_once() -> None:
    assert not is_abort_trigger_text("stop" + "\u0316\u0301" * 500_000)


@given(texts)
def test_it_agrees_with_a_plain_reading_of_the_rule(text: str) -> None:
    assert is_abort_trigger_text(text) == plain_reading(text)


def test_every_character_around_a_phrase_is_read_by_the_rule() -> None:
    """A character that folds to a margin is one; one that composes with its neighbour is not."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.decomposition(character) or unicodedata.combining(character):
            text = f"{character}stop{character}"
            assert is_abort_trigger_text(text) == plain_reading(text), hex(code)
