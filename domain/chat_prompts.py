"""The prompt of a chat turn: what stands around the texts of a user.

Owns the fixed texts and their order. The transport facts and the marked untrusted metadata are
`domain.inbound`'s, the user's own text `domain.inbox_texts`'.
Source: chat-policies.md §1, §2.4 and §2.5.

Invariant: what people can write stands only in the user's message, never in a system message.

The fixed text is short on purpose, and metadata that tells nothing is left out: the smallest
supported model has 135 million parameters, and takes up what it is shown.
"""

from dataclasses import replace
from typing import Final

from domain.directives import SILENT_REPLY_TOKEN
from domain.inbound import build_inbound_meta_system_prompt, build_inbound_user_context_prefix
from domain.inbox_texts import inbound_context
from domain.prompts import PromptFrame
from domain.scopes import ScopeKind
from domain.session_messages import InboundMessage

CHAT_SYSTEM_TEXT: Final = (
    "You chat with a user. Your answer is sent as it is: write the answer only.\n"
    "To reply under the user's message, begin with [[reply_to_current]]; under another one, with "
    "[[reply_to: its message_id]].\n"
    f"Nothing to say: answer only {SILENT_REPLY_TOKEN}."
)


def chat_frame(message: InboundMessage) -> PromptFrame:
    """What stands around the prompt of a turn.

    Args:
        message: The message that the turn answers; of several the last.
    """
    context = inbound_context(message)
    if _is_owner(message):
        # Whoever speaks to their own session needs no introduction.
        context = replace(context, sender_id="")
    if not message.id_given:
        context = replace(context, message_id="")
    system = [CHAT_SYSTEM_TEXT]
    if any((context.provider, context.surface, context.chat_id, context.chat_type)):
        system.append(build_inbound_meta_system_prompt(context))
    return PromptFrame(system=system, before=build_inbound_user_context_prefix(context))


def _is_owner(message: InboundMessage) -> bool:
    scope = message.scope
    return (
        scope.kind == ScopeKind.USER
        and message.sender_id == scope.id
        and not message.sender_label.strip()
    )
