"""The tools of a deployment, as a caller sees them.

Owns the library call; the registry is the workers'. Source: triggers-and-actions.md §7.
"""

from collections.abc import Sequence

from temporalio.client import Client

from client.ledger import LedgerCalls
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.ledger_requests import ListTools
from domain.tool_specs import ListedTool, ToolPage


class Tools:
    """Library calls for tools."""

    def __init__(self, temporal: Client) -> None:
        self._ledger = LedgerCalls(temporal)

    async def list(self) -> list[ListedTool]:
        """All tools by name, with their permissions and whether they could be called now.

        Raises:
            DomainError: `unavailable` without a worker.
        """
        page = await self._ledger.ask(ListTools(), ToolPage)
        return page.tools

    async def check_named(self, names: Sequence[str]) -> None:
        """Check that there are tools of these names, as far as anybody can say now.

        Without a worker nothing is checked: a routine can be created then all the same, and a tool
        that does not exist is not offered to its runs.

        Args:
            names: The guardrail `allowed_tools`.

        Raises:
            DomainError: `invalid_field` on `guardrails.allowed_tools`, naming the first that is
                not there.
        """
        if not names:
            return
        try:
            known = {tool.name for tool in await self.list()}
        except DomainError as error:
            if error.kind is ErrorKind.UNAVAILABLE:
                return
            raise
        for name in names:
            if name not in known:
                field = "guardrails.allowed_tools"
                message = f"{field} names {shown(name)}, which is no tool here: see `tool list`"
                raise DomainError(ErrorKind.INVALID_FIELD, field, message, sorted(known))
