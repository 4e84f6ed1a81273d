"""Two calls of tools, held back by who receives them, so that a worker dies in their middle.

Owns what must have become of them afterwards: what may have had its effect is not done again, what
only reads is.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domain.tool_actions import ActionRecord, ActionStatus
from tests.support.model_steps import Reply
from tests.support.receiver import Hang, Receiver, running_receiver
from tests.support.tool_runs import Listener, asks


@dataclass
class HeldCalls:
    """A model that pays and one that reads a price; who they call has heard of it, and is silent.

    Only the first call of each is held back.
    """

    posts: Receiver
    reads: Receiver
    paying: Listener = field(init=False)
    reading: Listener = field(init=False)

    def __post_init__(self) -> None:
        self.posts.script.append(Hang())
        self.reads.script.append(Hang())
        post = {"method": "POST", "url": f"{_address(self.posts)}/pay", "body": "1"}
        self.paying = Listener(asks(("http_request", post)), Reply("Paid, I think."))
        get = {"url": f"{_address(self.reads)}/price"}
        self.reading = Listener(asks(("http_get", get)), Reply("It costs 1."))

    @property
    def settings(self) -> dict[str, str]:
        """What allows the calls."""
        return {
            "TICKLESS_TOOL_PERMISSIONS": '{"http_request": "allow"}',
            "TICKLESS_TOOL_HTTP_ALLOWED_HOSTS": (
                f'["127.0.0.1:{self.posts.port}", "127.0.0.1:{self.reads.port}"]'
            ),
        }

    async def arrived(self) -> None:
        """Wait until both are with who receives them."""
        async with asyncio.timeout(60):
            await self.posts.arrived.wait()
            await self.reads.arrived.wait()

    def assert_made_at_most_once(
        self, paid: Sequence[ActionRecord], read: Sequence[ActionRecord]
    ) -> None:
        """Check what the ledger says of the two, and how often they were made."""
        assert [row.status for row in paid] == [ActionStatus.UNKNOWN]
        assert len(self.posts.requests) == 1
        assert self.paying.results()[0].startswith("unknown: the call had begun")
        assert [row.status for row in read] == [ActionStatus.OK]
        assert len(self.reads.requests) == 2


def _address(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}"


@asynccontextmanager
async def held_calls() -> AsyncGenerator[HeldCalls]:
    """The two calls, and who receives them."""
    async with running_receiver() as posts, running_receiver() as reads:
        yield HeldCalls(posts, reads)
