"""The heartbeat of an activity that has something to show while it runs.

Owns when it beats. What a beat carries is its user's. The SDK throttles what is sent, but encodes
every beat; so beats of growth are thinned here too.

Invariants:
    1. Growth is in a beat within `GAP`; silence is never longer than `every`. Work that is done
       sooner costs no beat at all.
    2. Nothing beats after the block has ended.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from pydantic import BaseModel
from temporalio import activity

GAP: Final = timedelta(milliseconds=100)


class Pulse:
    """Beats with what `details` returns, when told and when silent."""

    def __init__(self, details: Callable[[], BaseModel], every: timedelta) -> None:
        self._details = details
        self._every = every.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._schedule(self._last + self._every)

    def beat(self) -> None:
        """Beat now."""
        activity.heartbeat(self._details())
        self._last = self._loop.time()
        self._schedule(self._last + self._every)

    def grew(self) -> None:
        """There is something new: beat, but not more often than every `GAP`."""
        due = self._last + GAP.total_seconds()
        if self._loop.time() >= due:
            self.beat()
        elif self._timer is None or self._timer.when() > due:
            self._schedule(due)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, when: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(when, self.beat)


@contextmanager
def beating(details: Callable[[], BaseModel], every: timedelta) -> Generator[Pulse]:
    """Beat while the block runs.

    Args:
        details: What a beat carries, asked at each.
        every: Longest silence; a third of the heartbeat timeout where that is shorter.
    """
    timeout = activity.info().heartbeat_timeout
    pulse = Pulse(details, min(every, timeout / 3) if timeout else every)
    if activity.info().attempt > 1:
        # The server forgets what former attempts spent unless this one says it again.
        pulse.beat()
    try:
        yield pulse
    except BaseException:
        pulse.beat()  # what the next attempt has to know must not wait for the next beat
        raise
    finally:
        pulse.stop()
