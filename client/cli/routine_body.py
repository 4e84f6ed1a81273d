"""The body of a new routine, from the flags of `routine create` or from JSON.

Owns reading what the user gave, prompt files and standard input included. What is accepted is
decided by `domain.routine`; values are handed on as they were given. Source: automation.md §13.
"""

import json
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from domain.errors import DomainError

STANDARD_INPUT = "-"

_WORDS = re.compile(r"\d+\s*[a-zA-Z]+")


@dataclass(frozen=True)
class RoutineFlags:
    """The flags of `routine create`; null where not given.

    Numbers are as `client.cli.options.number_or_text` read them.
    """

    prompt: str | None = None
    prompt_file: str | None = None
    cron: str | None = None
    every: object = None
    at: str | None = None
    tz: str | None = None
    catchup: str | None = None
    manual: bool | None = None
    context: list[str] | None = None
    max_tokens: object = None
    title: str | None = None
    max_runs: object = None
    deliver: str | None = None
    timeout: object = None

    def given(self) -> list[str]:
        """The flags that were used, as they are written."""
        return [
            "--" + field.name.replace("_", "-")
            for field in fields(self)
            if getattr(self, field.name) not in (None, False, [])
        ]


def read_body(flags: RoutineFlags, source: str | None) -> dict[str, Any]:
    """The JSON of the API.

    Args:
        flags: What stands on the command line.
        source: A file of JSON, or `-` for standard input; then no flags may be given.

    Raises:
        DomainError: `invalid_field` on `body` or `prompt` for what cannot be read.
    """
    if source is None:
        return _from_flags(flags)
    if used := flags.given():
        raise _invalid(
            "body", f"--json is the whole routine: put {', '.join(used)} into it, or leave it out"
        )
    try:
        body = json.loads(_read(source, "body"))
    except (ValueError, RecursionError) as error:
        raise _invalid("body", f"body must be a JSON object, but {source}: {error}") from error
    if not isinstance(body, dict):
        raise _invalid("body", f"body must be a JSON object, not a {type(body).__name__}")
    return cast("dict[str, Any]", body)


def _from_flags(flags: RoutineFlags) -> dict[str, Any]:
    prompt = _prompt(flags)
    action = _given(context_paths=flags.context or None, max_tokens=flags.max_tokens)
    body = _given(title=flags.title, max_runs=flags.max_runs)
    if action and prompt is not None:
        body["action"] = {"type": "lightweight", "prompt": prompt, **action}
    elif prompt is not None:
        body["prompt"] = prompt
    if flags.manual:
        body["trigger"] = {"type": "manual"}
    if schedule := _schedule(flags):
        body["schedule"] = schedule
    if flags.deliver is not None:
        channel, _, target = flags.deliver.partition(":")
        body["notify"] = {"route": {"receive_id_type": channel, "receive_id": target}}
    if flags.timeout is not None:
        body["guardrails"] = {"run_timeout_seconds": flags.timeout}
    return body


def _schedule(flags: RoutineFlags) -> dict[str, Any]:
    """The schedule; an interval in words, `--every 2h`, is what `--cron 'every 2h'` says too."""
    cron, every = flags.cron, flags.every
    if cron is None and isinstance(every, str) and _WORDS.fullmatch(every.strip()):
        cron, every = f"every {every.strip()}", None
    return _given(
        cron_expr=cron,
        every_seconds=every,
        run_at=flags.at,
        timezone=flags.tz,
        catchup=flags.catchup,
    )


def _prompt(flags: RoutineFlags) -> str | None:
    if flags.prompt_file is None:
        return flags.prompt
    if flags.prompt is not None:
        raise _invalid("prompt", "prompt: give exactly one of --prompt and --prompt-file")
    return _read(flags.prompt_file, "prompt")


def _read(source: str, field: str) -> str:
    try:
        if source == STANDARD_INPUT:
            return sys.stdin.read()
        return Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(field, f"{field}: {source!r} is not UTF-8 text") from error
    except OSError as error:
        raise _invalid(field, f"{field}: cannot read {source!r}: {error.strerror}") from error


def _given(**values: object) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _invalid(field: str, message: str) -> "DomainError":
    from domain.errors import DomainError, ErrorKind

    return DomainError(ErrorKind.INVALID_FIELD, field, message)
