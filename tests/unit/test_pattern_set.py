"""Many patterns at once: the set finds exactly what each pattern finds by itself."""

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

import domain.pattern_set
from domain.errors import DomainError
from domain.pattern_set import BUCKETS, PatternSet
from domain.trigger_pattern import compile_pattern

PIECES = (
    "a",
    "b",
    ".",
    "^",
    "$",
    r"\b",
    r"\w+",
    "(a|b)",
    "x*",
    "ä",
    r"\pL",
    "[^a]",
    "(?i)B",
    r"\C",
)
TEXTS = st.text(alphabet="abBxä \n1", max_size=12)


def _compiles(pattern: str) -> bool:
    try:
        compile_pattern(pattern)
    except DomainError:
        return False
    return True


PATTERNS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join).filter(_compiles)


def _single(patterns: list[str], text: str) -> set[str]:
    return {item for item in patterns if compile_pattern(item).search(text.encode())}


@given(st.lists(PATTERNS, max_size=30), TEXTS)
def test_the_set_agrees_with_single_matches(patterns: list[str], text: str) -> None:
    found = PatternSet(patterns).matching(text.encode())
    assert set(found) == _single(patterns, text)
    assert len(found) == len(set(found))


@given(st.lists(st.tuples(st.booleans(), PATTERNS), max_size=30), TEXTS)
def test_it_grows_and_shrinks(changes: list[tuple[bool, str]], text: str) -> None:
    patterns, kept = PatternSet(), dict[str, None]()
    for puts_in, pattern in changes:
        if puts_in:
            patterns.add(pattern)
            kept[pattern] = None
        else:
            patterns.discard(pattern)
            kept.pop(pattern, None)
        assert set(patterns.matching(text.encode())) == _single(list(kept), text)


def test_many_patterns() -> None:
    patterns = PatternSet(rf"deploy-{number} (\w+)" for number in range(50 * BUCKETS))
    assert patterns.matching(b"please deploy-77 now") == [r"deploy-77 (\w+)"]
    assert patterns.matching(b"nothing") == []


@pytest.mark.parametrize("memory", [1, 1_500], ids=["compiling", "searching"])
def test_without_memory_the_patterns_are_tried_alone(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine says "nothing matches" where it has no room; that must not be believed."""
    monkeypatch.setattr(domain.pattern_set, "MAX_MEMORY_BYTES", memory)
    patterns = [rf"(\w+) {letter}[a-z]{{3}}$" for letter in "abcdefgh"]
    assert (
        set(PatternSet(patterns).matching(b"x  y babc")) == _single(patterns, "x  y babc") != set()
    )


def test_a_set_that_answers_nothing_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted(re2.Set):  # type: ignore[misc]
        def Match(self, text: bytes) -> None:
            return None

    monkeypatch.setattr(re2, "Set", Exhausted)
    assert PatternSet(["a", "b"]).matching(b"xa") == ["a"]
