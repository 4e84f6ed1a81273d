"""The progress bar of the local model's fetch."""

import io

from worker.fetching import fetch_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_grows_and_ends() -> None:
    screen = Terminal()
    report = fetch_progress(screen)
    for done in range(0, 101, 5):
        report(done * 1_000_000, 100_000_000)

    *steps, last = screen.getvalue().split("\r")
    assert last == "Fetching the local model, once " + "━" * 30 + " 100/100 MB\n"
    assert [step.count("━") for step in steps] == sorted({step.count("━") for step in steps})
    assert len({len(step) for step in steps}) <= 2, "each step covers the one before"


def test_a_log_gets_one_line() -> None:
    log = io.StringIO()
    report = fetch_progress(log)
    for done in range(101):
        report(done * 1_000_000, 100_000_000)

    assert log.getvalue() == "Fetching the local model, once (100 MB)\n"


def test_nothing_known_and_more_than_expected_are_no_fault() -> None:
    screen = Terminal()
    report = fetch_progress(screen)
    report(0, 0)
    report(200, 100)

    assert screen.getvalue().endswith("\n")
