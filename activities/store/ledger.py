"""The tables of the ledger, as one transaction sees them.

Owns putting the tables together. When a transaction begins and ends is `activities.store.engine`'s.
"""

from sqlalchemy import Connection

from activities.store.llm_calls import LlmCallTable
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.threads import ThreadTable


class Ledger:
    """All tables on one connection; good until the transaction ends.

    Attributes:
        runs: What happened to each run.
        threads: Conversations and their messages.
        calls: Calls of models.
        outbox: Texts for people.
    """

    def __init__(self, connection: Connection) -> None:
        self.runs = RunTable(connection)
        self.threads = ThreadTable(connection)
        self.calls = LlmCallTable(connection)
        self.outbox = Outbox(connection)
