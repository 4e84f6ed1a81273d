"""How often a client may ask.

Owns counting requests per client. Who the client is, a token or an address, is for whoever counts.
Source: automation.md §13.
"""

import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from client.gateway.problems import TooManyRequests


class Rates:
    """Requests of the last minute, by client; kept in this process."""

    def __init__(self, per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def count(self, client: str) -> None:
        """Count one request.

        Raises:
            TooManyRequests: `rate_limited`, with the time after which there is room again.
        """
        if await self._limiter.hit(self._item, client):
            return
        window = await self._limiter.get_window_stats(self._item, client)
        after = max(1, math.ceil(window.reset_time - time.time()))
        raise TooManyRequests(
            f"client made more than {self._item.amount} requests in a minute; try again in "
            f"{after} s",
            after,
        )
