"""Summaries that follow each other, and summaries that a model wrote (chat-policies.md §6.4)."""

from domain.compaction_summary import SUMMARY_TITLE, merge_summaries, titled_summary


def summary(*lines: str) -> str:
    return "\n".join([SUMMARY_TITLE, *lines])


def test_two_summaries_are_one() -> None:
    merged = merge_summaries(summary("- user: one"), summary("- user: two"), 500)
    assert merged == summary("- user: one", "- user: two")
    assert merge_summaries("", summary("- user: two"), 500) == summary("- user: two")
    assert merge_summaries(summary("- user: one"), "", 500) == summary("- user: one")
    assert merge_summaries("", "", 500) == ""


def test_the_oldest_lines_go_first() -> None:
    lines = [f"- user: {number:04}" + "." * 87 for number in range(60)]
    merged = merge_summaries(summary(*lines[:40]), summary(*lines[40:]), 500)
    assert len(merged) <= 2_000
    kept = merged.splitlines()[1:]
    assert kept == lines[-len(kept) :]
    assert len(merged) + 101 > 2_000


def test_merging_again_and_again_stays_within_the_size() -> None:
    merged = ""
    for number in range(100):
        merged = merge_summaries(merged, summary(f"- user: {number}" + "." * 90), 0)
        assert len(merged) <= 2_000
    assert "- user: 99" in merged


def test_a_summary_of_a_model_gets_the_title() -> None:
    assert titled_summary(" It went well.\n", 500) == summary("It went well.")
    assert titled_summary(summary("It went well."), 500) == summary("It went well.")
    assert titled_summary(" \n", 500) == ""
    assert len(titled_summary("x" * 9_000, 100)) == 400
