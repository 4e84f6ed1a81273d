"""A progress bar while the local model's weights are fetched.

Owns the look; fetching is `worker.local_model`'s. Source: the 98 MB take a while on a slow line.

Invariant: nothing is left to be undone: a fetch that fails, or is interrupted, needs no call.
"""

import sys
from typing import TextIO

from worker.model_source import Progress

_WIDTH = 30
_WHAT = "Fetching the local model, once"


def fetch_progress(stream: TextIO | None = None) -> Progress:
    """A callback that draws the fetch, from its first call to its last.

    Args:
        stream: Where to draw; standard error by default. What is no terminal gets one line.
    """
    screen = stream or sys.stderr
    drawn = -1

    def report(done: int, total: int) -> None:
        nonlocal drawn
        filled = _WIDTH * min(done, total) // total if total else 0
        if filled == drawn:
            return
        first, drawn = drawn < 0, filled
        size = f"{total / 1e6:.0f} MB"
        if not screen.isatty():
            if first:
                screen.write(f"{_WHAT} ({size})\n")
            return
        bar = "━" * filled + " " * (_WIDTH - filled)
        # The cursor goes back to the beginning: whatever is said next is said over it.
        end = "\n" if filled == _WIDTH else "\r"
        screen.write(f"{_WHAT} {bar} {done / 1e6:.0f}/{size}{end}")
        screen.flush()

    return report
