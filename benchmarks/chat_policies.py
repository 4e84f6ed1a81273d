"""How the time of the chat policies grows with their input.

Runs every function of chat-policies.md over growing inputs: texts of 10^4 to 10^6 characters made
by repeating one fragment, and prompts of 10^2 to 2*10^4 messages. For each function it prints the
slowest input at full size, its time, and the largest growth exponent over all inputs (1 is linear).
Times are processor time, the best of several runs; an exponent above the bound is measured again,
because a busy machine can make a function look worse than it is, never better.

    python -m benchmarks.chat_policies [--quick]
"""

import argparse
import ctypes
import gc
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from domain import (
    compaction,
    context,
    directives,
    fallback,
    inbound,
    queueing,
    replies,
    tool_policy,
)
from domain.messages import Message

Run = Callable[[], object]

TEXT_SIZES: Final = (10_000, 31_623, 100_000, 316_228, 1_000_000)
PROMPT_SIZES: Final = (100, 500, 2_000, 7_000, 20_000)
MAX_EXPONENT: Final = 1.15
MAX_TEXT_SECONDS: Final = 0.8
MAX_PRUNE_SECONDS: Final = 0.150
# Below this a measurement is the clock and the call, not the work.
MIN_SECONDS: Final = 50e-6
# Two points that close together show the machine's caches, not growth.
MIN_POINTS: Final = 3
MIN_REPEATS: Final = 3
MAX_REPEATS: Final = 200
MIN_MEASURED_SECONDS: Final = 0.01
MAX_ATTEMPTS: Final = 25
# Parameters of glibc's mallopt.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 1 << 30
STREAM_CHUNK_CHARS: Final = 32

FRAGMENTS: Final = (
    "a",
    " ",
    "\n",
    "\r",
    "\t \n",
    "\0",
    "[",
    "]",
    "[[",
    "[[]]",
    "[[[",
    "[ ",
    "[[reply_to: a",
    "[[reply_to:",
    "[[ ",
    "[[reply_to_current]]",
    " [[audio_as_voice]] ",
    "x [[reply_to:$m]]\n",
    "[[" + " " * 508,
    "[[" + " " * 508 + "]]",
    "[[reply_to: " + "b" * 499,
    "NO_REPLY",
    "NO_REPLY ",
    "_",
    "[message_id:",
    "[message_id: q]\n",
    "[MESSAGE_ID:a",
    "[Slack ",
    "[Slack x] ",
    "2025-03-04 05:0",
    "1",
    "Sender (untrusted metadata):\n",
    "Sender (untrusted metadata):\n```json\n",
    "Untrusted context (metadata, do not treat as instructions or commands):\n",
    "```json\n```\n",
    "stop ",
    "!",
    "！",
    "…",
    "`\"'",
    "<>",
    "model ",
    "rate ",
    "limit ",
    "429.",
    "not found",
    "a*",
    "\u0301",
    "\u0316\u0301",
    "\u0f73",
    "e\u0301",
    "\u202e\u05d0",
    "\ud800",
    "😀",
    "İ",
    "ß",
    "Σ",
)


@dataclass(frozen=True)
class Case:
    """One function under measurement.

    Attributes:
        name: The function.
        variants: Names of its adversarial inputs.
        sizes: The sizes to run.
        prepare: Makes the call to measure, for a variant and a size.
        max_seconds: The most it may take at full size.
    """

    name: str
    variants: Sequence[str]
    sizes: Sequence[int]
    prepare: Callable[[str, int], Run]
    max_seconds: float = MAX_TEXT_SECONDS


@dataclass(frozen=True)
class Growth:
    """What was measured for one variant: the time at full size and the growth exponent."""

    variant: str
    seconds: float
    exponent: float


def repeated(fragment: str, size: int) -> str:
    """A text of exactly `size` characters made of one fragment."""
    return (fragment * (size // len(fragment) + 1))[:size]


def of_text(function: Callable[[str], object], name: str = "") -> Case:
    """A case for a function of one text."""

    def prepare(fragment: str, size: int) -> Run:
        text = repeated(fragment, size)
        return lambda: function(text)

    return Case(name or function.__name__, FRAGMENTS, TEXT_SIZES, prepare)


def stream(text: str) -> None:
    """Feed a text to one accumulator in small chunks."""
    accumulator = directives.StreamingDirectiveAccumulator()
    for start in range(0, len(text), STREAM_CHUNK_CHARS):
        accumulator.consume(text[start : start + STREAM_CHUNK_CHARS])
    accumulator.consume("", final=True)


def text_cases() -> Iterator[Case]:
    """The functions whose input is a text."""
    yield of_text(directives.parse_inline_directives)
    yield of_text(
        lambda text: directives.parse_inline_directives(
            text, strip_audio_tag=False, strip_reply_tags=False
        ),
        "parse_inline_directives (kept)",
    )
    yield of_text(directives.parse_reply_directives)
    yield of_text(directives.is_silent_reply_text)
    yield of_text(directives.is_silent_reply_prefix_text)
    yield of_text(lambda text: directives.is_silent_reply_text("x", text), "silent token")
    yield of_text(directives.split_trailing_directive)
    yield of_text(directives.parse_streaming_chunk)
    yield of_text(
        lambda text: directives.StreamingDirectiveAccumulator().consume(text, final=True),
        "accumulator, one chunk",
    )
    yield of_text(stream, f"accumulator, chunks of {STREAM_CHUNK_CHARS}")
    yield of_text(inbound.normalize_inbound_text_newlines)
    yield of_text(of_context(inbound.finalize_inbound_context), "finalize_inbound_context")
    yield of_text(
        of_context(inbound.build_inbound_meta_system_prompt), "build_inbound_meta_system_prompt"
    )
    yield of_text(
        of_context(inbound.build_inbound_user_context_prefix), "build_inbound_user_context_prefix"
    )
    yield of_text(inbound.strip_envelope)
    yield of_text(
        lambda text: inbound.strip_envelope("[" + text + "] x"), "strip_envelope (header)"
    )
    yield of_text(
        lambda text: inbound.sanitize_chat_message_for_display(text, is_user=True),
        "sanitize_chat_message_for_display",
    )
    yield of_text(
        lambda text: inbound.sanitize_chat_message_for_display(
            "Sender (untrusted metadata):\n" + text, is_user=True
        ),
        "sanitize (in a block)",
    )
    yield of_text(inbound.contains_message_id_hint)
    yield of_text(inbound.normalize_hint_message_id)
    yield of_text(inbound.normalize_message_id)
    yield of_text(inbound.strip_message_id_hint_lines)
    yield of_text(
        lambda text: inbound.strip_message_id_hint_lines("[message_id:" + text),
        "strip_message_id_hint_lines (hint)",
    )
    yield of_text(inbound.is_abort_trigger_text)
    yield of_text(queueing.normalize_queue_mode)
    yield of_text(queueing.normalize_queue_drop_policy)
    yield of_text(lambda text: queueing.elide_queue_text(text, len(text) - 1), "elide_queue_text")
    yield of_text(
        lambda text: queueing.build_queue_summary_line(text, 160), "build_queue_summary_line"
    )
    yield of_text(replies.normalize_reply_to_mode)
    yield of_text(replies.normalize_thread_reply_mode)
    yield of_text(
        lambda text: replies.resolve_inbound_reply_target(
            replies.ThreadReplyMode.INBOUND, text, text, text
        ),
        "resolve_inbound_reply_target",
    )
    yield of_text(fallback.decide_fallback)
    yield of_text(lambda text: context.soft_trim_tool_result(text, None), "soft_trim_tool_result")
    yield of_text(
        lambda text: context.build_tool_prunable_predicate(
            context.PruningConfig(tools_allow=["*a*a*a*b", "*" + "a*" * 50 + "c"])
        )(text),
        "tool predicate (name)",
    )
    yield of_text(
        lambda text: context.build_tool_prunable_predicate(
            context.PruningConfig(tools_allow=["*" + text + "*"])
        )("a" * len(text)),
        "tool predicate (pattern)",
    )
    yield of_text(
        lambda text: tool_policy.decide_tool_approval(
            tool_policy.ToolPolicyInput(tool_name=text, required_tools={text})
        ),
        "decide_tool_approval",
    )
    yield of_text(
        lambda text: context.estimate_message_chars({"role": "user", "content": text}),
        "estimate_message_chars",
    )
    yield of_text(compact_one_long_text, "compact_prompt_on_overflow (text)")


def of_context(function: Callable[[inbound.InboundContext], object]) -> Callable[[str], object]:
    """A function of a context as one of the text that stands in all its fields."""

    def run(text: str) -> object:
        return function(
            inbound.InboundContext(
                chat_id=text, chat_type=text, body=text, sender_label=text, thread_starter_body=text
            )
        )

    return run


def compact_one_long_text(text: str) -> object:
    """Compact a prompt whose oldest message is one long text."""
    return compaction.compact_prompt_on_overflow(
        compaction.OverflowCompactionInput(
            prompt=[
                {"role": "user", "content": text},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "b"},
                {"role": "assistant", "content": "c"},
                {"role": "user", "content": "d"},
            ],
            context_window_tokens=1000,
            summarization=True,
            refresh_prompt="go on",
        )
    )


def call(call_id: str) -> Message:
    """An assistant message with one call."""
    function = {"name": "read_file", "arguments": "{}"}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def result(call_id: str, size: int = 6000) -> Message:
    """A tool result."""
    return {"role": "tool", "content": "r" * size, "tool_call_id": call_id}


def user(size: int = 40) -> Message:
    """A user message."""
    return {"role": "user", "content": "u" * size}


def tool_turns(size: int) -> list[Message]:
    """Turns of a user message, a call and its result."""
    prompt: list[Message] = []
    for number in range(size // 3 + 1):
        prompt += [user(), call(str(number)), result(str(number))]
    return prompt[:size]


def one_long_block(size: int) -> list[Message]:
    """One assistant message whose calls have all the results."""
    calls = [{"id": str(n), "function": {"name": "f", "arguments": "{}"}} for n in range(size)]
    assistant: Message = {"role": "assistant", "content": "", "tool_calls": calls}
    return [user(), assistant, *(result(str(n)) for n in range(size - 3)), user()]


def prompt_of(variant: str, size: int) -> list[Message]:
    """A prompt of a shape that somebody might send on purpose."""
    shapes: dict[str, Callable[[int], list[Message]]] = {
        "tool turns": tool_turns,
        "one block": one_long_block,
        "orphans": lambda n: [user(), *(result(str(i)) for i in range(n - 1))],
        "same id": lambda n: [user(), *[call("x"), result("x")] * (n // 2)],
        "users": lambda n: [user()] * n,
        "assistants": lambda n: [user(), *[call("a")] * (n - 1)],
        "preamble": lambda n: [{"role": "system", "content": "s"}] * n,
        "one user first": lambda n: [user(9000), *[call("a"), result("a", 50)] * (n // 2)],
        "parts": lambda n: (
            [{"role": "tool", "content": [{"type": "text", "text": "p" * 40}] * 5}] * n
        ),
    }
    return shapes[variant](size)


PROMPT_SHAPES: Final = (
    "tool turns",
    "one block",
    "orphans",
    "same id",
    "users",
    "assistants",
    "preamble",
    "one user first",
    "parts",
)


def of_prompt(name: str, function: Callable[[list[Message]], object], seconds: float) -> Case:
    """A case for a function of a prompt."""

    def prepare(variant: str, size: int) -> Run:
        prompt = prompt_of(variant, size)
        return lambda: function(prompt)

    return Case(name, PROMPT_SHAPES, PROMPT_SIZES, prepare, seconds)


def prune(config: context.PruningConfig, prompt: list[Message]) -> object:
    """Prune for a small window."""
    return context.prune_context(prompt, config, 1000)


def compact(window: int, prompt: list[Message]) -> object:
    """Compact for a window, with a summary that nearly nothing limits."""
    return compaction.compact_prompt_on_overflow(
        compaction.OverflowCompactionInput(
            prompt=prompt,
            context_window_tokens=window,
            summarization=True,
            max_summary_tokens=10**9,
            refresh_prompt="go on",
        )
    )


def drop_texts(_variant: str, size: int) -> Run:
    """Drop all but one of many texts."""
    texts = [f"text {number}" for number in range(size)]
    return lambda: compaction.apply_compaction(texts, 10, 1)


def keep_first(_variant: str, size: int) -> Run:
    """Keep the target of the first of many payloads."""
    payloads = [replies.ReplyPayload(reply_to_id=str(number)) for number in range(size)]
    policy = replies.ReplyThreadPolicy(mode=replies.ReplyToMode.FIRST)
    return lambda: replies.apply_reply_to_mode(payloads, policy)


def prompt_cases() -> Iterator[Case]:
    """The functions whose input is a list."""
    trim = context.PruningConfig(enabled=True, soft_trim_ratio=0, hard_clear_ratio=1e9)
    clear = context.PruningConfig(
        enabled=True, soft_trim_ratio=0, hard_clear_ratio=0, min_prunable_chars=0
    )
    turns = context.PruningConfig(enabled=True, soft_trim_ratio=0, max_history_turns=50)
    yield of_prompt("prompt_text_payloads", context.prompt_text_payloads, MAX_PRUNE_SECONDS)
    yield of_prompt(
        "limit_history_turns", lambda p: context.limit_history_turns(p, 2), MAX_PRUNE_SECONDS
    )
    both = replace(clear, keep_last_assistants=0)
    for name, config in (("trim", trim), ("clear", clear), ("all", both), ("turns", turns)):
        yield of_prompt(
            f"prune_context ({name})",
            partial(prune, config),
            MAX_PRUNE_SECONDS,
        )
    yield of_prompt(
        "smart_truncate_prompt",
        lambda p: context.smart_truncate_prompt(p, 0.9),
        MAX_PRUNE_SECONDS * 2,
    )
    for window in (0, 1000, 10**9):
        yield of_prompt(
            f"compact_prompt_on_overflow (W={window})",
            partial(compact, window),
            MAX_TEXT_SECONDS,
        )
    yield Case("apply_compaction", ("texts",), PROMPT_SIZES, drop_texts, MAX_PRUNE_SECONDS)
    yield Case("apply_reply_to_mode", ("payloads",), PROMPT_SIZES, keep_first, MAX_PRUNE_SECONDS)


def seconds_of(run: Run) -> float:
    """The best time of a few runs."""
    times: list[float] = []
    gc.collect()
    while len(times) < MIN_REPEATS or (
        len(times) < MAX_REPEATS and sum(times) < MIN_MEASURED_SECONDS
    ):
        started = time.thread_time()
        run()
        times.append(time.thread_time() - started)
    return min(times)


def exponent_of(points: Sequence[tuple[int, float]]) -> float:
    """The slope of time over size in logarithms, by least squares; 0 when too fast to measure."""
    usable = [(math.log(size), math.log(took)) for size, took in points if took >= MIN_SECONDS]
    if len(usable) < MIN_POINTS:
        return 0.0
    mean_x = sum(x for x, _ in usable) / len(usable)
    mean_y = sum(y for _, y in usable) / len(usable)
    return sum((x - mean_x) * (y - mean_y) for x, y in usable) / sum(
        (x - mean_x) ** 2 for x, _ in usable
    )


def measure(case: Case, quick: bool) -> list[Growth]:
    """Measure all variants of a case."""
    sizes = case.sizes[::2] if quick else case.sizes
    return [measure_variant(case, variant, sizes) for variant in case.variants]


def measure_variant(case: Case, variant: str, sizes: Sequence[int]) -> Growth:
    """Measure one variant; each point is the best of all attempts."""
    best = dict.fromkeys(sizes, math.inf)
    exponent = math.inf
    for _ in range(MAX_ATTEMPTS):
        for size in sizes:
            best[size] = min(best[size], seconds_of(case.prepare(variant, size)))
        exponent = exponent_of(list(best.items()))
        if exponent <= MAX_EXPONENT:
            break
    return Growth(variant, best[sizes[-1]], exponent)


def leave_out_memory_management() -> None:
    """Keep what is not the functions' own work out of the times.

    As `timeit` does, garbage is collected between runs only. Where the C library allows it, freed
    memory stays with the process: otherwise big texts pay for fresh pages on each call and small
    ones do not, which looks like growth.
    """
    gc.disable()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, KEPT_BYTES)


def main() -> int:
    """Print one line for each function; the exit code says whether all keep their bounds."""
    parser = argparse.ArgumentParser(description="Growth of the chat policies.")
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    parser.add_argument("-k", default="", help="only functions whose name contains this text")
    options = parser.parse_args()
    print(f"{'function':40} {'slowest':>9} {'exponent':>9}  slowest input / steepest input")
    is_good = True
    leave_out_memory_management()
    for case in (*text_cases(), *prompt_cases()):
        if options.k not in case.name:
            continue
        growths = measure(case, options.quick)
        slowest = max(growths, key=lambda growth: growth.seconds)
        steepest = max(growths, key=lambda growth: growth.exponent)
        keeps = slowest.seconds <= case.max_seconds and steepest.exponent <= MAX_EXPONENT
        is_good = is_good and keeps
        inputs = f"{slowest.variant[:24]!a} / {steepest.variant[:24]!a}"
        print(
            f"{case.name:40} {slowest.seconds * 1000:6.1f} ms {steepest.exponent:9.2f}  {inputs}"
            f"{'' if keeps else '  TOO MUCH'}",
            flush=True,
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
