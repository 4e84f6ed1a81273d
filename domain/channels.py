"""A channel: a way by which texts reach people, an item of setting `channels`.

Owns the descriptions of the channels. Sending is an activity's.
Source: automation.md §2 (Route) and §13.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ConsoleChannel(BaseModel):
    """Writes to the standard output of the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["console"] = "console"


class FileChannel(BaseModel):
    """Appends one JSON object a line; a key that is already in the file is not written again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["file"] = "file"
    path: str = Field(
        default="deliveries.jsonl",
        description="The file, relative to the data folder; a route may name another one there.",
    )


class WebhookChannel(BaseModel):
    """Posts JSON, signed as Standard Webhooks say, with the occurrence id as `webhook-id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["webhook"] = "webhook"
    url: str = Field(pattern=r"^https?://", description="Where to post.")
    secret: SecretStr = Field(
        description="`whsec_` and base64, as a literal, `env:NAME` or `file:PATH`."
    )
    timeout_seconds: float = Field(default=10, gt=0, description="Longest wait for the answer.")
    retry_seconds: float = Field(
        default=10,
        gt=0,
        description="Wait after the first refusal; four times as long after each next.",
    )
    deduplicates: bool = Field(
        default=False,
        description="The receiver ignores a known `webhook-id`: an ambiguous post may be repeated.",
    )


ChannelSpec = Annotated[ConsoleChannel | FileChannel | WebhookChannel, Field(discriminator="type")]
