"""Settings section `channels`: where texts are delivered, by name.

Owns the mapping of names to channels. What a channel is stands in `domain.channels`.
Source: automation.md §2 (Route).

Invariant: `default` names a channel that is there.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.channels import ChannelSpec, ConsoleChannel, FileChannel


class ChannelsSettings(BaseModel):
    """The channels by name; `console` and `file` are there unless redefined."""

    model_config = ConfigDict(frozen=True, extra="allow")
    # pydantic's way to say what extra keys hold
    __pydantic_extra__: dict[str, ChannelSpec] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    default: str = Field(
        default="console", description="Channel of every route whose type no channel claims."
    )
    console: ChannelSpec = Field(
        default=ConsoleChannel(), description="The channel named `console`."
    )
    file: ChannelSpec = Field(default=FileChannel(), description="The channel named `file`.")

    @property
    def by_name(self) -> dict[str, ChannelSpec]:
        """Every channel."""
        return {"console": self.console, "file": self.file, **self.__pydantic_extra__}

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default not in self.by_name:
            names = ", ".join(self.by_name)
            raise ValueError(f"default must be one of the channels {names}, not {self.default!r}")
        return self
