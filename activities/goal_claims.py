"""Whether what a goal's model claims is proven, and the question to the judge.

Owns looking up the calls of tools that a claim names, and writing the judge's question. What the
question says and how the answer is read is `domain.goal_judge`'s; what becomes of a claim
`domain.goal_book`'s. Source: automation.md §9, triggers-and-actions.md §7 and §10.

Invariants:
    1. Only a call of this goal's own jobs that went well proves anything, and never one of the
       goal's own tools: those only repeat what the model says.
    2. A call is named by its own id or by its row's; a name that fits several means any of them.
    3. The judge sees what the ledger keeps: outputs that are masked already.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.goal_judge import MAX_EVIDENCE, Evidence, judge_prompt
from domain.goal_record import GOAL_TOOLS
from domain.goal_state import CompletionClaim
from domain.redaction import redact_text
from domain.threads import Thread, ThreadKind, ThreadMessage
from domain.tool_actions import ActionRecord, ActionStatus

if TYPE_CHECKING:
    from activities.store import Ledger, Store

_NONCE_BYTES: Final = 8
_SAID_CHARS: Final = 120
# Of a call's name, as the judge is shown it.
_LABEL_CHARS: Final = 64
# Of a goal that used no tool: what it has written is all there is to see.
_MAX_RESULTS: Final = 3


class NamedCall(BaseModel):
    """A call that a claim may name: `id` is what it is named by, `said` how its output begins."""

    model_config = ConfigDict(frozen=True)

    id: str
    tool: str
    status: ActionStatus
    said: str = ""


class PrepareJudgement(BaseModel):
    """A claim that the judge has to look at.

    Attributes:
        goal_id: The goal.
        objective: Its own words.
        scope: Whose it is, in text form.
        claim: What its model says.
        number: Of the judgement, from 1; never the same again for this goal.
    """

    goal_id: str
    objective: str
    scope: str
    claim: CompletionClaim
    number: int


class JudgeRequest(BaseModel):
    """A question that is written down.

    Attributes:
        thread: Where; the question is its only message.
        shown: Ids of the evidence in it.
        job_id: The newest job of the goal: the cost counts there.
    """

    thread: Thread
    shown: list[str] = []
    job_id: str | None = None


def proven(ledger: "Ledger", goal_id: str, call_ids: Sequence[str], asked_in: str = "") -> bool:
    """Whether a claim names calls, and each of them is proof.

    Args:
        ledger: The transaction to look in.
        goal_id: The goal.
        call_ids: What the claim names.
        asked_in: The message that claims: other calls of it had not ended when it was written.
    """
    found = _cited(ledger, goal_id, call_ids, asked_in)
    return bool(found) and all(found.values())


def newest_calls(ledger: "Ledger", goal_id: str, limit: int = 20) -> list[NamedCall]:
    """The newest calls of a goal that can be proof, so that a model knows how to name them.

    Args:
        ledger: The transaction to look in.
        goal_id: The goal.
        limit: How many calls are looked at.
    """
    rows = [row for row in ledger.actions.of_goal(goal_id, at_most=limit) if _is_proof(row)]
    return [
        NamedCall(id=_name(row), tool=row.tool, status=row.status, said=_beginning(row.output))
        for row in rows
    ]


class GoalClaimActivities:
    """Prepares the look of a judge."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    @activity.defn
    async def prepare_judgement(self, request: PrepareJudgement) -> JudgeRequest:
        """Write the judge's question, once.

        Raises:
            ApplicationError: `store_failed` from the store.
        """
        return await self._store.write(_prepare, request)


def _prepare(ledger: "Ledger", request: PrepareJudgement) -> JudgeRequest:
    goal, claim = request.goal_id, request.claim
    found = _cited(ledger, goal, claim.evidence)
    calls = [row for rows in found.values() for row in rows]
    jobs = ledger.jobs.of_goal(goal, at_most=_MAX_RESULTS + 1)
    evidence = [
        Evidence(
            id=_name(row)[-_LABEL_CHARS:], source=f"output of {row.tool}", text=row.output or ""
        )
        for row in {row.id: row for row in calls}.values()
    ]
    if not evidence:
        evidence = [
            Evidence(id=job.id, source="answer of the worker", text=redact_text(job.result))
            for job in jobs
            if job.result
        ][:_MAX_RESULTS]
    evidence = evidence[:MAX_EVIDENCE]
    now = datetime.now(UTC)
    thread = Thread(
        id=f"{goal}/judge-{request.number}",
        scope=request.scope,
        kind=ThreadKind.GOAL,
        created_at=now,
    )
    question = ThreadMessage(
        id=f"{thread.id}/question",
        thread_id=thread.id,
        role="user",
        content=judge_prompt(
            request.objective, claim.summary, evidence, nonce=secrets.token_hex(_NONCE_BYTES)
        ),
        created_at=now,
    )
    ledger.threads.ensure(thread)
    ledger.threads.append([question])
    shown = [piece.id for piece in evidence]
    return JudgeRequest(thread=thread, shown=shown, job_id=jobs[0].id if jobs else None)


def _cited(
    ledger: "Ledger", goal_id: str, call_ids: Sequence[str], asked_in: str = ""
) -> dict[str, list[ActionRecord]]:
    """The proof that each name stands for; none where it stands for nothing that counts."""
    names = list(dict.fromkeys(name.strip() for name in call_ids if name.strip()))[:MAX_EVIDENCE]
    rows = [
        row
        for row in ledger.actions.of_goal(goal_id, names)
        if _is_proof(row) and (not asked_in or not row.id.startswith(f"{asked_in}/"))
    ]
    # Databases may take upper and lower case for the same.
    return {
        name: [row for row in rows if row.id == name or row.id.endswith(f"/{name}")]
        for name in names
    }


def _is_proof(row: ActionRecord) -> bool:
    return row.status == ActionStatus.OK and not row.tool.startswith(GOAL_TOOLS)


def _name(row: ActionRecord) -> str:
    """The last part of a row's id: the model's own name for its call."""
    return row.id.rsplit("/", 1)[-1]


def _beginning(output: str | None) -> str:
    text = " ".join((output or "").split())
    return text if len(text) <= _SAID_CHARS else text[: _SAID_CHARS - 1] + "…"
