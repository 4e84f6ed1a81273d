"""Channels: the ways by which a text reaches people.

Owns what a channel promises and the three that are built in; what may be configured is described in
`domain.channels`. What is sent when, and what a refusal means, is `activities.deliveries`'.
Source: triggers-and-actions.md §9, automation.md §2.
"""

from activities.channels.building import Channels, build_channels
from activities.channels.channel import Ambiguous, Channel, MessageGone, Outgoing, Refused

__all__ = [
    "Ambiguous",
    "Channel",
    "Channels",
    "MessageGone",
    "Outgoing",
    "Refused",
    "build_channels",
]
