"""The flags of `routine create`, one for each thing a new routine may say.

Owns their names, forms and help. What is read from them is `client.cli.routine_body`'s. Source:
automation.md §13.
"""

from typing import Annotated

import typer

from client.cli.options import number_or_text

Name = Annotated[str | None, typer.Argument(help="A name of your choice.", metavar="NAME")]

Prompt = Annotated[str | None, typer.Option(help="What the model is asked.", metavar="TEXT")]
PromptFile = Annotated[
    str | None,
    typer.Option(help="File that holds the prompt; - is standard input.", metavar="FILE"),
]
ContextPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--context", help="File of the workspace to show the model; repeatable.", metavar="PATH"
    ),
]
MaxTokens = Annotated[
    object, typer.Option(help="Longest answer, in tokens.", metavar="N", parser=number_or_text)
]

Cron = Annotated[
    str | None,
    typer.Option(help="Five cron fields, or a nickname such as @daily.", metavar="EXPR"),
]
Every = Annotated[
    object,
    typer.Option(
        help="Interval: seconds from 60, or 30m, 2h, 1d.", metavar="TIME", parser=number_or_text
    ),
]
At = Annotated[
    str | None,
    typer.Option(help="Once, at an RFC 3339 time: 2027-01-31T09:00:00+01:00.", metavar="TIME"),
]
Manual = Annotated[bool, typer.Option("--manual", help="Fires only by hand.")]
Tz = Annotated[str | None, typer.Option(help="IANA zone, such as Europe/Berlin.", metavar="ZONE")]
Catchup = Annotated[
    str | None, typer.Option(help="Missed times: once, skip or all.", metavar="HOW")
]

Title = Annotated[str | None, typer.Option(help="Shown in notices and in the UI.", metavar="TEXT")]
MaxRuns = Annotated[
    object, typer.Option(help="Pause after so many runs.", metavar="N", parser=number_or_text)
]
Deliver = Annotated[str | None, typer.Option(help="Where replies go.", metavar="CHANNEL[:TARGET]")]
Timeout = Annotated[
    object,
    typer.Option(
        help="Longest working time of a run, in seconds.", metavar="N", parser=number_or_text
    ),
]
JsonSource = Annotated[
    str | None,
    typer.Option("--json", help="The whole routine as JSON; - is standard input.", metavar="FILE"),
]
