"""How the command line shows sessions: in tables, field by field, and as they speak.

Owns the look; what is asked is `client.cli.session`'s. Source: automation.md §13.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from client.cli.output import (
    link,
    minute,
    moment,
    print_fields,
    print_table,
    printable,
    say,
    styled,
)

if TYPE_CHECKING:
    from client.session_sender import MessageSent
    from client.session_watch import SessionProgress
    from domain.session_requests import SessionQueue, SessionView, TurnAnswer

_PREVIEW_CHARS = 160


def show_sessions(views: "Iterable[SessionView]") -> None:
    """Print sessions, a row each."""
    print_table(
        ("KEY", "STATE", "WAITING", "LAST ANSWER"),
        (
            (view.key, _state(view), view.queued, _preview(view.last.text if view.last else ""))
            for view in views
        ),
        optional=("WAITING",),
    )


def show_session(view: "SessionView", ui_url: str) -> None:
    """Print one session."""
    turn, last = view.turn, view.last
    print_fields(
        {
            "session": view.key,
            "state": styled(_state(view), "blue" if view.active else ""),
            "holder": view.holder and f"{view.holder.owner} since {moment(view.holder.since)}",
            "turn": turn and f"{turn.turn_id} since {moment(turn.since)}",
            "answers": turn.message_ids if turn else [],
            "messages waiting": view.queued or "",
            "runs waiting": view.waiting or "",
            "answered": view.answered or "",
            "merged": view.merged or "",
            "dropped": view.dropped or "",
            "thread": view.thread_id,
            "last turn": last and f"{last.turn_id}: {last.status or last.fate}",
            "last answer": last and _preview(last.text),
            "error": last and last.error,
            "ui": link(ui_url),
        }
    )


def show_queue(queue: "SessionQueue") -> None:
    """Print what waits, next first."""
    if queue.messages:
        print_table(
            ("ID", "RECEIVED", "MODE", "BYTES", "FROM", "TEXT"),
            (
                (
                    item.message_id,
                    minute(item.received_at),
                    item.mode,
                    item.bytes,
                    item.sender_label,
                    _preview(item.preview),
                )
                for item in queue.messages
            ),
            optional=("BYTES", "RECEIVED", "FROM", "MODE"),
        )
    else:
        say("No message waits.")
    for holder in queue.waiting:
        say(f"Waiting for the session: {holder.owner} since {moment(holder.since)}")
    say(f"Revision {queue.revision}.")


def show_sent(sent: "MessageSent") -> None:
    """Print what became of a message when it came."""
    decision = sent.decision or "accepted; no worker answers"
    print_fields(
        {
            "message": sent.message_id,
            "session": sent.session_key,
            "decision": f"{decision} ({sent.reason})" if sent.reason else decision,
            "same as": "a message that came before" if sent.duplicate else "",
            "position": sent.position,
            "turn": sent.turn_id,
            "fired": [run.run_id for run in sent.runs],
            "warnings": sent.warnings,
            "ui": link(sent.ui_url),
        }
    )
    say(f"Follow it with: tickless session tail '{sent.session_key}'")


def show_answer(answer: "TurnAnswer") -> None:
    """Print what a message was answered; what is no answer goes to standard error."""
    if answer.text:
        sys.stdout.write(printable(answer.text) + "\n")
    if answer.truncated:
        say("That is only its beginning.")
    if answer.error:
        say(f"[{answer.status or answer.fate}: {printable(answer.error)}]")
    elif not answer.text or answer.fate not in {"answered", ""}:
        say(f"[{answer.fate or answer.status}]")


class SessionFollower:
    """Writes the answers of a session as they come, and its stages between the lines."""

    def __init__(self) -> None:
        self._in_line = False
        self._written = 0

    def step(self, step: "SessionProgress") -> None:
        """Write what is new."""
        if step.text:
            if step.offset < self._written:
                # The model was asked anew: what it writes now stands for what it wrote.
                self._end_line()
            sys.stdout.write(printable(step.text))
            self._written = step.offset + len(step.text)
            self._in_line = not step.text.endswith("\n")
        if step.answer is not None:
            self._end_line()
            self._written = 0
            end = step.answer.error or ", ".join(step.answer.message_ids)
            say(f"[{step.answer.status or step.answer.fate}: {printable(end)}]")
        if step.stage is not None:
            self._end_line()
            say(f"[{step.stage}]")
        sys.stdout.flush()

    def _end_line(self) -> None:
        if self._in_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._in_line = False


def _state(view: "SessionView") -> str:
    if view.turn is not None:
        return str(view.turn.stage)
    return f"held by {view.holder.owner}" if view.holder is not None else "idle"


def _preview(text: str) -> str:
    from domain.queueing import build_queue_summary_line

    return build_queue_summary_line(text, _PREVIEW_CHARS)
