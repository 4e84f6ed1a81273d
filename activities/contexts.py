"""The context of a model call: what of its thread goes with it, around what is asked.

Owns loading a thread as far as it is told word for word, and making the call's prompt of it. What
is left out and how the parts are worded is decided in `domain.call_prompts` and `domain.prompts`.
Source: DESIGN §4, chat-policies.md §4 and §6, triggers-and-actions.md §5.

Invariants:
    1. A thread that was compacted is told from there on, after its summary.
    2. A call without a new prompt answers the newest message of a user, around which the frame then
       stands, whatever was compacted.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from temporalio.exceptions import ApplicationError

from activities.failures import PROMPT_REFUSED
from activities.model_requests import CallModel
from activities.tool_offers import ToolOffer
from activities.workspace import WorkspaceFiles
from domain.call_prompts import CallPrompt, Window, call_prompt
from domain.history import NO_RESULT, NOT_DECIDED, Said, conversation
from domain.message_text import function_calls
from domain.messages import Message
from domain.model_chain import ModelSpec
from domain.prompts import LIGHTWEIGHT, framed_prompt, sendable
from domain.pruning_config import PruningConfig
from domain.threads import Compaction
from domain.tool_specs import ToolSpec

if TYPE_CHECKING:
    from activities.store import Ledger

NONCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class ThreadContext:
    """A thread as far as it is told, and what stands for what came before."""

    said: list[Said]
    compaction: Compaction | None

    @classmethod
    def load(cls, ledger: "Ledger", thread_id: str, *, asked: bool) -> "ThreadContext":
        """Read a thread.

        Args:
            ledger: A transaction.
            thread_id: The thread; one that does not exist is empty.
            asked: There is a new prompt, so nothing of the thread itself has to be answered.
        """
        compaction = ledger.compactions.newest(thread_id)
        messages = ledger.threads.messages(thread_id, compaction.sequence if compaction else 0)
        if compaction and not asked and all(item.role != "user" for item in messages):
            question = ledger.threads.newest_by(thread_id, "user")
            messages = [*([question] if question else []), *messages]
        said = conversation(messages)
        if _has_open_calls(said) and ledger.jobs.waits_in(thread_id):
            said = conversation(messages, NOT_DECIDED)
        return cls(said, compaction)

    @property
    def summary(self) -> str:
        """What stands for the part that is not told; may be empty."""
        return self.compaction.summary if self.compaction else ""

    @property
    def call_ids(self) -> frozenset[str]:
        """The ids of the calls that are told."""
        return frozenset(
            call.call_id for item in self.said for call in function_calls(item.message)
        )


def _has_open_calls(said: Sequence[Said]) -> bool:
    return any(
        item.message["role"] == "tool" and item.message["content"] == NO_RESULT for item in said
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt for one model, and what the model is offered with it."""

    prompt: CallPrompt
    context: ThreadContext
    spec: ModelSpec
    offer: ToolOffer
    max_tokens: int

    def with_prompt(self, prompt: CallPrompt) -> "Draft":
        """The same with another prompt."""
        return replace(self, prompt=prompt)


class PromptMaker:
    """Makes the prompts of one call, for whichever model is called."""

    def __init__(
        self,
        request: CallModel,
        files: WorkspaceFiles,
        tools: Sequence[ToolSpec],
        config: PruningConfig,
    ) -> None:
        """Take what does not depend on the model.

        Args:
            request: What is asked.
            files: The context files.
            tools: What may be called.
            config: How prompts are pruned.
        """
        self._request = request
        self._files = files
        self._tools = tools
        self._config = config
        self._nonce = secrets.token_hex(NONCE_BYTES)

    def make(self, context: ThreadContext, spec: ModelSpec) -> Draft:
        """Make the prompt.

        Raises:
            ApplicationError: `prompt_refused`: there is nothing to answer.
        """
        request = self._request
        offer = ToolOffer.of(self._tools, spec)
        longest = min(request.max_tokens, spec.max_tokens or request.max_tokens)
        frame = request.frame or LIGHTWEIGHT
        system: list[Message] = [
            {"role": "system", "content": sendable(text)} for text in frame.system if text.strip()
        ]
        said, question = context.said, None
        if request.prompt is not None:
            question = self._asked(request.prompt)
        elif said:
            said = self._with_frame(said)
        else:
            message = f"thread {request.thread.id!r} is empty, and there is no prompt"
            raise ApplicationError(message, type=PROMPT_REFUSED, non_retryable=True)
        prompt = call_prompt(
            [*system, *offer.instructions()],
            context.summary,
            said,
            question,
            kind=request.thread.kind,
            config=self._config,
            window=Window(spec.context_tokens, longest),
        )
        return Draft(prompt, context, spec, offer, longest)

    def _asked(self, prompt: str) -> Message:
        text = framed_prompt(
            prompt,
            self._request.frame or LIGHTWEIGHT,
            nonce=self._nonce,
            files=self._files.files,
            untrusted=self._request.untrusted,
            note=self._request.delivery_note,
        )
        return {"role": "user", "content": text}

    def _with_frame(self, said: Sequence[Said]) -> list[Said]:
        """The conversation with the frame around the newest message of a user."""
        framed = list(said)
        for place in reversed(range(len(framed))):
            message, sequence = framed[place]
            if message["role"] == "user":
                framed[place] = Said(self._asked(str(message["content"])), sequence)
                break
        return framed
