"""OpenAI-compatible models: one streamed call, its text as it grows, its usage at the end.

Owns the HTTP clients and reading the stream. Does not retry, change models, count money or know
Temporal. Source: DESIGN §4, chat-policies.md §7.

Invariants:
    1. Nothing but `ProviderError` (and cancellation) comes out of a call; retries of the client are
       off.
    2. Each call has a connection of its own, closed when the call ends in any way. Cancelling the
       caller closes it at once.
    3. Nothing is read from the environment: address and key come with the description of the model.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypedDict

from openai import AsyncOpenAI, Timeout
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall
from pydantic import ValidationError

from activities.completions import Completion
from activities.provider_errors import UnfinishedAnswerError, UnreadableAnswerError, classify
from activities.streamed_calls import StreamedCalls
from activities.tool_offers import ToolOffer
from domain.messages import Message
from domain.model_chain import ModelSpec
from domain.prices import Usage

if TYPE_CHECKING:
    from openai.types import CompletionUsage

OPENAI_URL: Final = "https://api.openai.com/v1"
# Servers without authentication ignore it; the client insists on one.
NO_KEY: Final = "none"
# llama.cpp closes some connections that it had promised to keep: of 60 calls in a row 5 failed with
# "server disconnected". A new connection costs less than such a call tried again.
_OWN_CONNECTION: Final = {"Connection": "close"}


class _Options(TypedDict, total=False):
    """Those arguments of a call that depend on the model."""

    max_tokens: int
    max_completion_tokens: int
    temperature: float


NO_TOOLS: Final = ToolOffer()


class Provider:
    """One model; its client is made at the first call, in the loop that calls."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._client: AsyncOpenAI | None = None

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        on_text: Callable[[str], None],
        offer: ToolOffer = NO_TOOLS,
    ) -> Completion:
        """Make one call.

        Args:
            messages: The prompt.
            max_tokens: Longest answer; the model's own limit may be lower.
            on_text: Is given each new piece of the answer's text, unless that is JSON for us.
            offer: The tools it may call.

        Raises:
            ProviderError: It failed, with what is to be done.
        """
        shown = _unseen if offer.constrained else on_text
        try:
            return offer.read(await self._stream(offer, messages, max_tokens, shown))
        except Exception as error:
            raise classify(error, self.spec) from None  # the original may quote the key

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _stream(
        self,
        offer: ToolOffer,
        messages: Sequence[Message],
        max_tokens: int,
        on_text: Callable[[str], None],
    ) -> Completion:
        stream = await self._opened_client().chat.completions.create(
            model=self.spec.name,
            messages=[],
            stream=True,
            stream_options={"include_usage": True},
            # What grows with a conversation goes as it is: the client would walk through each of
            # its messages by their types, which takes 40 ms for four hundred.
            extra_body={"messages": offer.spoken(messages), **offer.options()},
            **self._options(max_tokens),
        )
        answer = _Answer()
        async with stream:
            async for chunk in stream:
                if piece := answer.read(chunk):
                    on_text(piece)
        return answer.finished()

    def _options(self, max_tokens: int) -> _Options:
        limit = min(max_tokens, self.spec.max_tokens or max_tokens)
        # OpenAI's newer models refuse the old name, many compatible servers know only that one.
        own = self.spec.base_url is None or self.spec.base_url.startswith(OPENAI_URL)
        options: _Options = {"max_completion_tokens": limit} if own else {"max_tokens": limit}
        if self.spec.temperature is not None:
            options["temperature"] = self.spec.temperature
        return options

    def _opened_client(self) -> AsyncOpenAI:
        if self._client is None:
            key = self.spec.api_key.get_secret_value() if self.spec.api_key else ""
            connect, idle = self.spec.connect_timeout_seconds, self.spec.idle_timeout_seconds
            self._client = AsyncOpenAI(
                api_key=key or NO_KEY,
                base_url=self.spec.base_url or OPENAI_URL,
                max_retries=0,
                default_headers=_OWN_CONNECTION,
                timeout=Timeout(connect=connect, read=idle, write=idle, pool=connect),
            )
        return self._client


class Providers:
    """The models of a chain, ready to be called."""

    def __init__(self, chain: Sequence[ModelSpec]) -> None:
        self._providers = {spec.key: Provider(spec) for spec in chain}

    def __getitem__(self, spec: ModelSpec) -> Provider:
        return self._providers[spec.key]

    async def close(self) -> None:
        """Close all clients."""
        for provider in self._providers.values():
            await provider.close()


class _Answer:
    """What a stream has brought so far."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls = StreamedCalls()
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._chunks = 0

    def read(self, chunk: ChatCompletionChunk) -> str:
        """Take a chunk in; returns its piece of text, if any.

        Raises:
            UnreadableAnswerError: It is JSON, but no chunk.
        """
        self._chunks += 1
        try:
            if chunk.usage:
                self._usage = _usage(chunk.usage)
            if not chunk.choices:
                return ""
            choice = chunk.choices[0]
            self._finish_reason = choice.finish_reason or self._finish_reason
            piece = _text(choice.delta)
            self._calls.read(_calls(choice.delta))
        except (AttributeError, TypeError, LookupError):
            # The client builds its models without checking what it received.
            raise UnreadableAnswerError("the stream contains something that is no chunk") from None
        self._pieces.append(piece)
        return piece

    def finished(self) -> Completion:
        """The whole answer, after the end of the stream.

        Raises:
            UnreadableAnswerError: There was no stream.
            UnfinishedAnswerError: It ended too early.
        """
        if not self._chunks:
            raise UnreadableAnswerError("the answer is no event stream: check base_url")
        if self._finish_reason is None:
            raise UnfinishedAnswerError("the stream ended in the middle of the answer")
        calls = self._calls.finished()
        return Completion("".join(self._pieces), self._finish_reason, self._usage, calls)


def _unseen(_piece: str) -> None:
    """What a person is shown of JSON that is meant for us."""


def _text(delta: ChoiceDelta | None) -> str:
    """The piece of text in a chunk; some servers send a last one without any delta.

    The words in which a model declines are an answer, too: they come in a field of their own.
    """
    return (delta.content or delta.refusal or "") if delta else ""


def _calls(delta: ChoiceDelta | None) -> list[ChoiceDeltaToolCall]:
    """The pieces of calls in a chunk."""
    return (delta.tool_calls or []) if delta else []


def _usage(reported: "CompletionUsage") -> Usage | None:
    """Tokens as prices count them: cached ones apart from the others; null when unreadable."""
    try:
        details = reported.prompt_tokens_details
        read = details.cached_tokens if details else None
        written = details.cache_write_tokens if details else None
        return Usage(
            input_tokens=max(0, reported.prompt_tokens - (read or 0) - (written or 0)),
            output_tokens=reported.completion_tokens,
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
    except (AttributeError, TypeError, ValidationError):
        return None  # an answer is not thrown away for odd numbers beside it
