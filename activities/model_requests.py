"""What a workflow asks of `call_model`, and what comes back.

Owns the payloads. What is done with them is `activities.models`'. Changes are additive, with
defaults: recorded histories hold older ones.

Invariants:
    1. No payload grows with a conversation: transcripts stay in the store, and with them the
       arguments of tool calls.
    2. `ANSWER_BYTES` bounds the text of an answer; what was cut is whole in the thread.
"""

from typing import Final

from pydantic import BaseModel

from activities.failures import Overflow
from domain.deliveries import Part
from domain.jobs import JobRecord
from domain.notices import cut_mark
from domain.prompts import PromptFrame, UntrustedText
from domain.runs import RunRecord
from domain.threads import Thread
from domain.tool_specs import AskedCall
from domain.turns import TurnRecord

ANSWER_BYTES: Final = 256 * 1024


class GoalCaller(BaseModel):
    """A goal that calls beside its iterations; `job_id` is its newest one."""

    goal_id: str
    job_id: str | None = None


class CallModel(BaseModel):
    """A call of a model; exactly one of `run`, `turn`, `job` and `goal` says for whom.

    Attributes:
        run: The run's record, for the ledger.
        turn: The turn's record.
        job: The job's record.
        goal: The goal, and where its cost is counted.
        thread: The conversation it continues; made if there is none.
        prompt: What a user or the routine's author says, kept in the thread; null: the thread as it
            stands is answered, as after the results of tools.
        frame: What stands around the prompt (with a null `prompt`: around the newest message of a
            user); null is the frame of lightweight runs.
        context_paths: Files of the scope's workspace to quote.
        max_tokens: Longest answer.
        delivery_note: Where the answer goes, as a sentence.
        timeout_seconds: Time for this activity, all attempts together.
        cooling: Models that failed a moment ago, `provider/name`.
        purpose: What the call is for, in the ledger.
        untrusted: Texts from outside that the prompt quotes.
        announcement: Said when the call begins, once for the run.
        tools: Names of the tools that are offered.
        text_only: Offer none, though there were calls before; an answer is text.
        compaction: 1, 2: the conversation was too long so many times, and is to be shortened.
        overflow: The prompt that was too long, with `compaction`.
        max_cost_micros: The most that the run may cost, in micros of USD.
        max_tokens_total: The most tokens that the run may use, in and out.
        recovery: 1, 2: the same call was lost with its worker so many times before. It has the same
            answer, but each time its own rows and reservations.
        model: Only this one of the chain, by `name` or `provider/name`; empty: any.
        key: What the ids of its rows begin with; empty: the workflow's id, which has to be one that
            never comes again.
    """

    run: RunRecord | None = None
    turn: TurnRecord | None = None
    job: JobRecord | None = None
    goal: GoalCaller | None = None
    thread: Thread
    prompt: str | None = None
    frame: PromptFrame | None = None
    context_paths: list[str] = []
    max_tokens: int = 4096
    delivery_note: str = ""
    timeout_seconds: float = 0
    cooling: list[str] = []
    purpose: str = "routine"
    untrusted: list[UntrustedText] = []
    announcement: Part | None = None
    tools: list[str] = []
    text_only: bool = False
    compaction: int = 0
    overflow: Overflow | None = None
    max_cost_micros: int | None = None
    max_tokens_total: int | None = None
    recovery: int = 0
    model: str = ""
    key: str = ""


class ModelAnswer(BaseModel):
    """A stored answer; tokens and cost are those of all attempts, null where unknown.

    Attributes:
        text: The answer; may be empty when there are calls.
        message_id: Its id in the thread, where the arguments of the calls are too.
        truncated: The token limit cut it, or `ANSWER_BYTES`.
        filtered: The provider's content filter cut it.
        warnings: What the prompt had to do without, and budgets that are nearly used up.
        elapsed_seconds: Time spent in all attempts, without the waits between them.
        attempts: Number of the attempt that brought it.
        tool_calls: What the model wants to be called, in its order.
    """

    text: str
    message_id: str
    model: str
    provider: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    truncated: bool = False
    warnings: list[str] = []
    elapsed_seconds: float
    attempts: int
    tool_calls: list[AskedCall] = []
    filtered: bool = False

    @property
    def mark(self) -> str:
        """What is said under it because it is not whole; empty where it is."""
        return cut_mark(truncated=self.truncated, filtered=self.filtered)

    @property
    def marked_text(self) -> str:
        """The text as people are shown it."""
        return f"{self.text.strip()}\n{self.mark}" if self.mark else self.text
