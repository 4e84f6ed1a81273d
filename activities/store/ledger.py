"""The tables of the ledger, as one transaction sees them.

Owns putting the tables together. When a transaction begins and ends is `activities.store.engine`'s.
"""

from sqlalchemy import Connection

from activities.store.approvals import ApprovalTable
from activities.store.audit_pages import AuditPages
from activities.store.budget_entries import BudgetTable
from activities.store.compactions import CompactionTable
from activities.store.inbound import InboundTable
from activities.store.job_actions import JobActionTable
from activities.store.jobs import JobTable
from activities.store.llm_calls import LlmCallTable
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.standing_grants import StandingGrantTable
from activities.store.threads import ThreadTable
from activities.store.turns import TurnTable


class Ledger:
    """All tables on one connection; good until the transaction ends.

    Attributes:
        runs: What happened to each run.
        threads: Conversations and their messages.
        turns: What became of each chat turn.
        inbound: Messages to sessions.
        calls: Calls of models.
        outbox: Texts for people.
        jobs: What became of each job.
        actions: Calls of tools.
        approvals: What people were asked.
        grants: Which calls need not be asked for again.
        audit: Rows of the audit's tables, for export.
        compactions: What stands for the beginning of a thread.
        budgets: What calls have reserved and spent.
    """

    def __init__(self, connection: Connection) -> None:
        self.runs = RunTable(connection)
        self.threads = ThreadTable(connection)
        self.turns = TurnTable(connection)
        self.inbound = InboundTable(connection)
        self.calls = LlmCallTable(connection)
        self.outbox = Outbox(connection)
        self.jobs = JobTable(connection)
        self.actions = JobActionTable(connection)
        self.approvals = ApprovalTable(connection)
        self.grants = StandingGrantTable(connection)
        self.audit = AuditPages(connection)
        self.compactions = CompactionTable(connection)
        self.budgets = BudgetTable(connection)
