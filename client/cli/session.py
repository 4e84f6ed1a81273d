"""`tickless session …`: list, get, send, queue, tail, stop.

Owns the verbs and what they read; every call is `client.sessions`', the look is
`client.cli.session_view`'s. Source: automation.md §8 and §13, issue of sessions.

Invariant: exit code 1 says that an answer failed, and only where the command has waited for it.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.connected import connected
from client.cli.options import CursorOption, LimitOption, command_group, number_or_text
from client.cli.output import OutputOption, print_json, print_json_line, say, wants_json

if TYPE_CHECKING:
    from client.session_sender import MessageSent
    from client.sessions import SessionPage
    from client.tickless import TicklessClient
    from domain.session_messages import Stopped
    from domain.session_requests import SessionQueue, SessionView, TurnAnswer

app = command_group("Sessions: conversations, what waits in them, and their answers.")

_About = "The session's key: BASE or BASE|thread:ID"
_Key = Annotated[str, typer.Argument(help=f"{_About}.", metavar="KEY")]
_OwnKey = Annotated[
    str | None, typer.Argument(help=f"{_About}; else that of your context.", metavar="[KEY]")
]
_Json = Annotated[
    str | None,
    typer.Option("--json", help="The whole body; - is standard input.", metavar="FILE"),
]
_Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="What it does during an answer: interrupt, steer, followup, collect, steer-backlog "
        "or backlog.",
        metavar="MODE",
    ),
]
_Debounce = Annotated[
    object,
    typer.Option(
        "--debounce-ms",
        help="How long it must be quiet before the answer.",
        metavar="N",
        parser=number_or_text,
    ),
]
_Cap = Annotated[
    object,
    typer.Option("--cap", help="How many may wait.", metavar="N", parser=number_or_text),
]
_Policy = "What gives way when too many wait: old, new or summarize."


@app.command(name="list")
def list_(
    context: typer.Context,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = None,
) -> None:
    """List your sessions, newest first."""

    async def use(tickless: "TicklessClient") -> "SessionPage":
        return await tickless.sessions.list(limit=limit, cursor=cursor)

    page = connected(context, use)
    if wants_json(output):
        print_json(page.model_dump(mode="json", exclude_none=True))
        return
    from client.cli.session_view import show_sessions

    if page.sessions:
        show_sessions(page.sessions)
    else:
        say("No sessions. Begin one with: tickless session send KEY TEXT")
    if page.next_cursor is not None:
        say(f"There are more: --cursor {page.next_cursor}")


@app.command()
def get(context: typer.Context, key: _OwnKey = None, output: OutputOption = None) -> None:
    """Show one session: who speaks, what waits, what was said last."""

    async def use(tickless: "TicklessClient") -> "tuple[SessionView, str]":
        view = await tickless.sessions.get(key)
        return view, tickless.sessions.ui_url(view.key)

    view, ui_url = connected(context, use)
    if wants_json(output):
        print_json({**view.model_dump(mode="json"), "ui_url": ui_url})
        return
    from client.cli.session_view import show_session

    show_session(view, ui_url)


@app.command()
def send(
    context: typer.Context,
    key: _Key,
    text: Annotated[
        str | None, typer.Argument(help="What to say; else standard input.", metavar="TEXT")
    ] = None,
    json_source: _Json = None,
    message_id: Annotated[
        str | None,
        typer.Option(help="Makes a repetition the same message.", metavar="ID"),
    ] = None,
    mode: _Mode = None,
    debounce_ms: _Debounce = None,
    cap: _Cap = None,
    drop: Annotated[str | None, typer.Option(help=_Policy, metavar="POLICY")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer.")] = False,
    output: OutputOption = None,
) -> None:
    """Say something in a conversation.

    With --wait the answer is printed, and exit code 1 says that it failed.
    For example: tickless session send home 'What is on today?' --wait
    """
    from client.cli.session_body import message_body

    options = _given(mode=mode, debounce_ms=debounce_ms, cap=cap, drop=drop)
    body = message_body(text, json_source, message_id, options)

    async def use(tickless: "TicklessClient") -> "tuple[MessageSent, TurnAnswer | None]":
        sent = await tickless.sessions.send(body, key=key)
        if sent.refusal is not None:
            raise sent.refusal
        if not wait:
            return sent, None
        if not wants_json(output):
            say(f"Waiting for {sent.message_id}; Ctrl-C ends the waiting, not the answer.")
        return sent, await tickless.sessions.wait(sent.message_id, key)

    sent, answer = connected(context, use)
    if wants_json(output):
        found = sent.model_dump(mode="json", exclude_none=True)
        print_json(found if answer is None else {**found, "answer": answer.model_dump(mode="json")})
    else:
        from client.cli.session_view import show_answer, show_sent

        if answer is None:
            show_sent(sent)
        else:
            show_answer(answer)
    if answer is not None:
        _exit_if_failed(answer)


@app.command()
def queue(
    context: typer.Context,
    key: _OwnKey = None,
    order: Annotated[
        list[str] | None,
        typer.Option(help="These are next, in this order.", metavar="ID,ID"),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Take out.", metavar="ID,ID")] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(help="Make one of these, under the id of the first.", metavar="ID,ID"),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take everything out.")] = False,
    mode: _Mode = None,
    debounce_ms: _Debounce = None,
    cap: _Cap = None,
    drop_policy: Annotated[str | None, typer.Option(help=_Policy, metavar="POLICY")] = None,
    revision: Annotated[
        object,
        typer.Option(help="Only if this is still the queue's.", metavar="N", parser=number_or_text),
    ] = None,
    json_source: _Json = None,
    output: OutputOption = None,
) -> None:
    """Show what waits in a session, or change it.

    --mode, --debounce-ms, --cap and --drop-policy are kept for the session.
    """
    from client.cli.session_body import change_body

    options = _given(mode=mode, debounce_ms=debounce_ms, cap=cap, drop=drop_policy)
    flags = _given(
        order=order, drop=drop, merge=merge, clear=clear or None, options=options or None
    )
    change = change_body(json_source, flags, revision)

    async def use(tickless: "TicklessClient") -> "SessionQueue":
        if change is None:
            return await tickless.sessions.queue(key)
        return await tickless.sessions.edit_queue(key, change)

    found = connected(context, use)
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    from client.cli.session_view import show_queue

    show_queue(found)


@app.command()
def tail(
    context: typer.Context,
    key: _OwnKey = None,
    turns: Annotated[
        int | None, typer.Option(help="End after so many answers.", min=1, metavar="N")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Follow a session: its answers as they are written, until Ctrl-C.

    As JSON, a line for each step: new text with its turn and offset, a stage, an answer's end.
    """
    from client.cli.session_view import SessionFollower

    in_json = wants_json(output)

    async def use(tickless: "TicklessClient") -> None:
        follower, ended = SessionFollower(), 0
        async for step in tickless.sessions.watch(key):
            if in_json:
                print_json_line(step.model_dump(mode="json", exclude_none=True))
            else:
                follower.step(step)
            ended += step.answer is not None
            if turns is not None and ended >= turns:
                return

    connected(context, use)


@app.command()
def stop(
    context: typer.Context,
    key: _OwnKey = None,
    reason: Annotated[str | None, typer.Option(help="Kept in the record.", metavar="TEXT")] = None,
    output: OutputOption = None,
) -> None:
    """Stop the answer that is written, or the automation that speaks."""

    async def use(tickless: "TicklessClient") -> "Stopped":
        return await tickless.sessions.stop(key, reason=reason)

    stopped = connected(context, use)
    if wants_json(output):
        print_json(stopped.model_dump(mode="json"))
    elif stopped.stopped is None:
        say("Nothing speaks there; nothing was changed.")
    else:
        say(f"Stopped: {stopped.stopped} {stopped.owner or ''}".rstrip())


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _exit_if_failed(answer: "TurnAnswer") -> None:
    from client.cli.run import EXIT_FAILED

    if answer.fate in {"failed", "dropped", "aborted"}:
        raise typer.Exit(EXIT_FAILED)
