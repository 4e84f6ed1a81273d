"""The variables of a prompt: `{{now}}`, `{{date}}`, `{{time}}`, `{{unix}}`.

Owns their names and their text. Anything else in double braces belongs to the prompt's author: it
stays as written and is only named, so that a caller can warn. Source: automation.md §7.4.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain.zones import load_zone

_BRACES = re.compile(r"\{\{([^{}]*)\}\}")


class RenderedPrompt(BaseModel):
    """A prompt with its variables filled in; `unknown` names the others, each once, in order."""

    model_config = ConfigDict(frozen=True)

    text: str
    unknown: list[str] = []


def render_prompt(prompt: str, now: datetime, timezone: str | None = None) -> RenderedPrompt:
    """Fill in the variables of a prompt.

    Args:
        prompt: The text as its author wrote it; it is neither trimmed nor otherwise changed.
        now: Start of the run.
        timezone: Zone in which times are written; UTC where none is given.

    Raises:
        DomainError: `invalid_field` on `timezone` when there is no such zone.
    """
    values = _values(now.astimezone(load_zone(timezone or "UTC")))
    unknown: dict[str, None] = {}

    def fill_in(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name in values:
            return values[name]
        if name:
            unknown[name] = None
        return found[0]

    return RenderedPrompt(text=_BRACES.sub(fill_in, prompt), unknown=list(unknown))


def _values(local: datetime) -> Mapping[str, str]:
    return {
        "now": local.isoformat(timespec="seconds"),
        "date": local.strftime("%Y-%m-%d"),
        "time": local.strftime("%H:%M:%S"),
        "unix": str(int(local.timestamp())),
    }
