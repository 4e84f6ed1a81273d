"""What a routine does when it runs: a lightweight prompt or a full job.

Owns the two actions and their validation. Does not own how they are carried out (workflows) nor
which tools they may use (`domain.guardrails`, `domain.tools`). Source: triggers-and-actions.md §5
and §6.

Invariant: a context path of a validated action is relative and has no part that leads out of the
workspace. Symbolic links are the reader's matter.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.fields import FieldReader, is_unicode, shown

ACTION_TYPES = ("lightweight", "full_job")
MAX_PROMPT_BYTES = 65_536
MAX_CONTEXT_PATHS = 32
MAX_TOKENS = 200_000
MAX_TOOL_ROUNDS = 20
MAX_TITLE_CHARS = 200
MAX_DESCRIPTION_BYTES = 65_536
MAX_ITERATIONS = 500

_DRIVE = re.compile(r"[A-Za-z]:")


class LightweightAction(BaseModel):
    """One prompt, answered in one model call or in a few rounds of tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["lightweight"] = "lightweight"
    prompt: str
    context_paths: list[str] = []
    max_tokens: int = 4096
    use_tools: bool = False
    max_tool_rounds: int = 3


class FullJobAction(BaseModel):
    """A job of its own: an agent loop with tools, approvals and a thread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["full_job"] = "full_job"
    title: str
    description: str
    max_iterations: int = 25


Action = Annotated[LightweightAction | FullJobAction, Field(discriminator="type")]


def validate_action(action: object) -> LightweightAction | FullJobAction:
    """Check an action and fill in its defaults.

    Args:
        action: The JSON object as it was given.

    Returns:
        The action in normal form: texts and paths trimmed, every key present.

    Raises:
        DomainError: The first problem on `action.…` in the order type, unknown keys, fields.
    """
    reader = FieldReader.of(action, "action")
    if reader.tag(ACTION_TYPES) == "lightweight":
        return _lightweight(reader)
    return _full_job(reader)


def _lightweight(reader: FieldReader) -> LightweightAction:
    reader.refuse_unknown(tuple(LightweightAction.model_fields))
    fields = {
        "prompt": reader.required_text("prompt", max_bytes=MAX_PROMPT_BYTES),
        "context_paths": _read_paths(reader, "context_paths"),
        "max_tokens": reader.integer("max_tokens", 1, MAX_TOKENS, 4096),
        "use_tools": reader.boolean("use_tools", default=False),
        "max_tool_rounds": reader.integer("max_tool_rounds", 1, MAX_TOOL_ROUNDS, 3),
    }
    reader.close()
    return LightweightAction.model_validate(fields)


def _full_job(reader: FieldReader) -> FullJobAction:
    reader.refuse_unknown(tuple(FullJobAction.model_fields))
    fields = {
        "title": reader.required_text("title", max_chars=MAX_TITLE_CHARS),
        "description": reader.required_text("description", max_bytes=MAX_DESCRIPTION_BYTES),
        "max_iterations": reader.integer("max_iterations", 1, MAX_ITERATIONS, 25),
    }
    reader.close()
    return FullJobAction.model_validate(fields)


def _read_paths(reader: FieldReader, key: str) -> list[str]:
    """The context paths in normal form, each once, in the order given."""
    items = reader.items(key, "paths in the workspace") or []
    if len(items) > MAX_CONTEXT_PATHS:
        reader.invalid(key, f"must have at most {MAX_CONTEXT_PATHS} paths, not {len(items)}")
        return []
    paths: dict[str, None] = {}
    for item in items:
        path = _normal_path(item)
        if path is None:
            reader.invalid(
                key,
                "must be paths relative to the workspace, as strings, without '..', '~', "
                f"backslash, drive letter or NUL; {shown(item)} is not one",
            )
        elif path:
            paths[path] = None
    return list(paths)


def _normal_path(item: object) -> str | None:
    """A path without `.` and doubled slashes, "" when blank; null when it may lead outside."""
    if not isinstance(item, str) or not is_unicode(item):
        return None
    path = item.strip()
    if path.startswith("/") or "\\" in path or "\0" in path:
        return None
    # Each part is trimmed: `./ ../x` must not become `../x` when the path is read a second time.
    trimmed = (part.strip() for part in path.split("/"))
    parts = [part for part in trimmed if part not in {"", "."}]
    if ".." in parts or (parts and (parts[0].startswith("~") or _DRIVE.match(parts[0]))):
        return None
    return "/".join(parts)
