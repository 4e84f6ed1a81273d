"""Where the settings of a conversation come from."""

import pytest
from pydantic import ValidationError

from domain.chat_settings import MAX_CAP, ChannelChat, ChatSettings, SessionRules
from domain.queueing import QueueDropPolicy, QueueMode, QueueSettings
from domain.replies import ReplyToMode, ThreadReplyMode
from domain.session_messages import QueueOptions


def test_the_defaults_are_those_of_the_queue() -> None:
    assert ChatSettings().queue(QueueOptions(), QueueOptions(), "console") == QueueSettings()


def test_every_field_has_its_own_source() -> None:
    chat = ChatSettings(
        cap=5, channels={"matrix": ChannelChat(drop=QueueDropPolicy.OLD, cap=6, debounce_ms=7)}
    )
    message = QueueOptions(mode=QueueMode.STEER, cap=-1)
    session = QueueOptions(mode=QueueMode.BACKLOG, debounce_ms=-5)
    assert chat.queue(message, session, "matrix") == QueueSettings(
        mode=QueueMode.STEER, debounce_ms=0, cap=6, drop_policy=QueueDropPolicy.OLD
    )
    assert chat.queue(QueueOptions(cap=10_000), session, "other").cap == MAX_CAP


def test_reply_modes_are_the_channels_or_all_have_one() -> None:
    chat = ChatSettings(
        reply_to_mode=ReplyToMode.FIRST,
        channels={
            "matrix": ChannelChat(
                reply_to_mode=ReplyToMode.OFF, thread_reply_mode=ThreadReplyMode.ALWAYS
            )
        },
    )
    assert (chat.replies("matrix"), chat.replies("console")) == (ReplyToMode.OFF, ReplyToMode.FIRST)
    assert chat.threads("matrix") == ThreadReplyMode.ALWAYS
    assert chat.threads("console") == ThreadReplyMode.INBOUND


@pytest.mark.parametrize("rounds", [0, 21])
def test_rounds_of_tools_have_bounds(rounds: int) -> None:
    assert (ChatSettings().tools, ChatSettings(max_tool_rounds=20).max_tool_rounds) == (True, 20)
    with pytest.raises(ValidationError):
        ChatSettings(max_tool_rounds=rounds)


@pytest.mark.parametrize(
    ("given", "local", "tools"),
    [({}, False, True), ({}, True, False), ({"tools": True}, True, True)]
    + [({"tools": False}, local, False) for local in (False, True)],
)
def test_the_local_model_has_tools_where_somebody_says_so(
    given: dict[str, bool], local: bool, tools: bool
) -> None:
    rules = SessionRules.of(ChatSettings(**given), 60, local_model=local)
    assert (rules.chat.tools, rules.run_timeout_seconds) == (tools, 60)


@pytest.mark.parametrize("wrong", [{"cap": 0}, {"cap": 201}, {"debounce_ms": -1}, {"mod": "x"}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChatSettings.model_validate(wrong)
    with pytest.raises(ValidationError):
        ChannelChat.model_validate(wrong)
