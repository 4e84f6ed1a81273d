"""Token buckets: how many of a kind may come at once, and how many a minute after that.

Owns the buckets of webhook paths; how often a client may ask is `client.gateway.rates`'. Source:
triggers-and-actions.md §3.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from client.gateway.problems import TooManyRequests


@dataclass
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """Buckets by name; kept in this process."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Buckets.

        Args:
            per_minute: How many tokens a bucket holds, and how many it gets a minute.
            clock: Tells seconds.
        """
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> None:
        """Take a token.

        Raises:
            TooManyRequests: `rate_limited`, with the time after which there is one again.
        """
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._size, now))
        gained = (now - bucket.at) * self._per_second
        bucket.tokens, bucket.at = min(self._size, bucket.tokens + gained), now
        if bucket.tokens < 1:
            after = max(1, math.ceil((1 - bucket.tokens) / self._per_second))
            raise TooManyRequests(
                f"this path takes {self._size:g} deliveries a minute; try again in {after} s", after
            )
        bucket.tokens -= 1
