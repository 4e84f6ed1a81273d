"""The body of a new routine or of a change to one, from flags or from JSON.

Owns reading what the user gave, prompt files and standard input included. What is accepted is
decided by `domain.routine`; values are handed on as they were given. Source: automation.md §6, §13
and §14 rows 30 and 31.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from client.cli.options import number_or_text
from client.cli.routine_flags import NONE, RoutineFlags, seconds_or_text

if TYPE_CHECKING:
    from domain.errors import DomainError

STANDARD_INPUT = "-"
# As a path of a webhook: none of its own.
ROUTINE_ID = "-"
MAX_BODY_BYTES = 1_048_576

_WORDS = re.compile(r"\d+\s*[a-zA-Z]+")
# Replaced as a whole by a patch, so that a flag for a part of one needs the rest of it.
_WHOLE = ("action", "guardrails", "notify")


def is_json(argument: str | None) -> bool:
    """Whether an argument of the command line is a body, and not a name."""
    return argument is not None and (
        argument.lstrip().startswith("{") or argument == STANDARD_INPUT
    )


def read_json(argument: str | None, source: str | None) -> dict[str, Any] | None:
    """The JSON object that was given; null when none was.

    Args:
        argument: JSON on the command line, or `-` for standard input.
        source: A file of JSON, or `-` for standard input.

    Raises:
        DomainError: `invalid_field` on `body` for what is no JSON object, `payload_too_large` for
            more than 1 MiB.
    """
    if argument is not None and source is not None:
        raise _invalid("body", "body: give the JSON object once, as argument or by --json")
    if argument is not None and argument != STANDARD_INPUT:
        return _object(argument, "the argument")
    if source is None and argument is None:
        return None
    return _object(_read(source or STANDARD_INPUT, "body"), source or "standard input")


def piped_json() -> dict[str, Any] | None:
    """The JSON object on standard input; null at a terminal, or when nothing comes."""
    stdin: TextIO | None = sys.stdin
    if stdin is None or stdin.isatty():
        return None
    text = _read(STANDARD_INPUT, "body")
    return _object(text, "standard input") if text.strip() else None


def read_creation(
    name: str | None, source: str | None, flags: RoutineFlags
) -> tuple[str | None, dict[str, Any]]:
    """The name and the body of a new routine.

    Args:
        name: What stands first on the command line: a name, JSON, or `-`.
        source: A file of JSON, or `-` for standard input.
        flags: What was given by flags; nothing may be beside JSON.
    """
    argument = name if is_json(name) else None
    body = _json_alone(argument, source, flags)
    if body is None and not flags.given():
        body = piped_json()
    if body is None:
        return name, _creation(flags)
    given = body.get("id")
    if (name is None or argument is not None) and isinstance(given, str):
        return given.strip(), body
    return (None if argument is not None else name), body


def read_patch(
    argument: str | None, source: str | None, flags: RoutineFlags
) -> dict[str, Any] | None:
    """The merge patch that was given as JSON; null where flags say what to change.

    Raises:
        DomainError: `missing_field` on `body` when nothing is given at all.
    """
    body = _json_alone(argument, source, flags)
    if body is None and not flags.given():
        body = piped_json()
        if body is None:
            raise _missing(
                "body",
                "body is required: say what to change, by flags or as a JSON object such as "
                '\'{"title": "Brief"}\'',
            )
    return body


def needs_present(flags: RoutineFlags) -> bool:
    """Whether a patch by these flags has to know the routine as it is."""
    return any((_action(flags), _guardrails(flags), _notify(flags)))


def patch_of(flags: RoutineFlags, present: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that flags ask for.

    Args:
        flags: What was given by flags.
        present: The routine as it is; needed for what a patch replaces as a whole.
    """
    body, action = _plain(flags), _action(flags)
    prompt = _prompt(flags)
    if prompt is not None and not action:
        body["prompt"] = prompt
    elif prompt is not None:
        action["prompt"] = prompt
    given = {"action": action, "guardrails": _guardrails(flags), "notify": _notify(flags)}
    body.update({key: {**present[key], **given[key]} for key in _WHOLE if given[key]})
    if flags.enabled is not None:
        body["status"] = "active" if flags.enabled else "paused"
    return body


def schedule_of(flags: RoutineFlags) -> dict[str, Any]:
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
        catchup_window_seconds=flags.catchup_window,
    )


def _creation(flags: RoutineFlags) -> dict[str, Any]:
    prompt, action = _prompt(flags), _action(flags)
    body = _plain(flags)
    if action and prompt is not None:
        body["action"] = {"type": "lightweight", "prompt": prompt, **action}
    elif prompt is not None:
        body["prompt"] = prompt
    body.update(_given(guardrails=_guardrails(flags) or None, notify=_notify(flags) or None))
    return {**body, **_given(enabled=flags.enabled)}


def _plain(flags: RoutineFlags) -> dict[str, Any]:
    """What a new routine and a patch say in the same way."""
    return _given(
        title=flags.title,
        fresh=flags.fresh,
        manage_mode=flags.manage_mode,
        max_runs=flags.max_runs,
        next_run_at=flags.next_run_at,
        trigger=_trigger(flags) or None,
        schedule=schedule_of(flags) or None,
    )


def _trigger(flags: RoutineFlags) -> dict[str, Any]:
    """The trigger that is no schedule; what does not go together is for its check to refuse."""
    webhook = _given(
        path=None if flags.webhook == ROUTINE_ID else flags.webhook,
        secret=_secret(flags.secret),
        scheme=flags.scheme,
        allow_unsigned=flags.allow_unsigned,
    )
    if flags.webhook is not None or webhook:
        webhook = {"type": "webhook", **webhook}
    return {**webhook, **_listening(flags), **({"type": "manual"} if flags.manual else {})}


def _listening(flags: RoutineFlags) -> dict[str, Any]:
    """The trigger of a routine that listens to messages or events."""
    listening: dict[str, Any] = {}
    if flags.on_message is not None:
        listening = {"type": "event", "pattern": flags.on_message}
    if flags.on_event is not None:
        source, _, event_type = flags.on_event.partition(":")
        listening |= {"type": "system_event", "source": source, "event_type": event_type}
    return listening


def _secret(texts: list[str] | None) -> object:
    secrets = [_one_secret(text) for text in texts or ()]
    return secrets[0] if len(secrets) == 1 else secrets or None


def _one_secret(text: str) -> object:
    kind, separator, target = text.partition(":")
    return {kind: target} if separator and kind in {"env", "file"} else text


def _action(flags: RoutineFlags) -> dict[str, Any]:
    return _given(
        context_paths=flags.files or None,
        max_tokens=flags.max_tokens,
        use_tools=flags.use_tools,
        max_tool_rounds=flags.max_tool_rounds,
    )


def _guardrails(flags: RoutineFlags) -> dict[str, Any]:
    limits = _given(
        run_timeout_seconds=flags.timeout,
        cooldown_seconds=flags.cooldown,
        max_concurrent=flags.max_concurrent,
        overlap=flags.overlap,
        dedup_window_seconds=flags.dedup_window,
        max_age_seconds=flags.max_age,
        rate_limit=_rate_limit(flags.rate_limit),
        max_tokens_total=flags.max_tokens_total,
        max_tool_calls=flags.max_tool_calls,
        allowed_tools=NONE if flags.allowed_tool == [NONE] else flags.allowed_tool or None,
        max_cost_usd=flags.max_cost,
    )
    return {key: None if value == NONE else value for key, value in limits.items()}


def _rate_limit(text: str | None) -> object:
    """`10/3600` or `10/1h`; what is left out is for the check of the guardrails to miss."""
    if text is None or text == NONE:
        return text
    runs, _, window = text.partition("/")
    return {
        "max_runs": number_or_text(runs),
        **({"window_seconds": seconds_or_text(window)} if window else {}),
    }


def _notify(flags: RoutineFlags) -> dict[str, Any]:
    route = None
    if flags.deliver is not None:
        channel, _, target = flags.deliver.partition(":")
        route = {"receive_id_type": channel, "receive_id": target}
    return _given(
        route=route,
        on_attention=flags.notify_on_attention,
        on_failure=flags.notify_on_failure,
        on_success=flags.notify_on_success,
    )


def _prompt(flags: RoutineFlags) -> str | None:
    if flags.prompt_file is None:
        return flags.prompt
    if flags.prompt is not None:
        raise _invalid("prompt", "prompt: give exactly one of --prompt and --prompt-file")
    return _read(flags.prompt_file, "prompt")


def _json_alone(
    argument: str | None, source: str | None, flags: RoutineFlags
) -> dict[str, Any] | None:
    """The JSON object that was given, beside which there may be no flags."""
    used = flags.given()
    if used and (argument is not None or source is not None):
        raise _invalid(
            "body", f"the JSON is all there is: put {', '.join(used)} into it, or leave it out"
        )
    return read_json(argument, source)


def _object(text: str, source: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BODY_BYTES:
        from domain.errors import DomainError, ErrorKind

        message = f"body must have at most {MAX_BODY_BYTES} bytes"
        raise DomainError(ErrorKind.PAYLOAD_TOO_LARGE, "body", message)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("body", f"body must be a JSON object, but {source}: {error}") from error
    if not isinstance(body, dict):
        raise _invalid("body", f"body must be a JSON object, not a {type(body).__name__}")
    return cast("dict[str, Any]", body)


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


def _missing(field: str, message: str) -> "DomainError":
    from domain.errors import DomainError, ErrorKind

    return DomainError(ErrorKind.MISSING_FIELD, field, message)
