"""`tickless gateway` and `tickless token …`: the HTTP API and the tokens for it.

Owns the commands; serving is `client.gateway`'s, the tokens are `client.tokens`'.
Source: automation.md §13, DESIGN §7.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import config_file
from client.cli.options import command_group
from client.cli.output import (
    OutputOption,
    minute,
    print_fields,
    print_json,
    print_table,
    say,
    wants_json,
)

if TYPE_CHECKING:
    from client.tokens import TokenFile

token_app = command_group("Bearer tokens for the HTTP gateway.")


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(gateway)
    app.add_typer(token_app, name="token")


def gateway(context: typer.Context) -> None:
    """Serve the HTTP API until SIGTERM.

    It needs nothing but a Temporal connection.
    """
    import os

    from client.gateway.process import run_gateway

    raise typer.Exit(run_gateway(config_file(context), os.environ))


@token_app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="How you call it.", metavar="NAME")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, run, approve or admin (which includes the others); repeatable or with "
            "commas.",
            metavar="SCOPE",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="How long it is accepted, such as 30d; for ever when left out."),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            help="Fix a name of the caller's context, such as actor_user_id=alice; repeatable.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Make a token; its secret is shown this once."""
    from datetime import UTC, datetime

    from client.tokens import parse_lifetime

    created = _tokens(context).create(
        name,
        [part for item in scope or [] for part in item.split(",") if part.strip()],
        now=datetime.now(UTC),
        lifetime=parse_lifetime(expires) if expires is not None else None,
        context=_bindings(bind or []),
    )
    if wants_json(output):
        print_json(created.model_dump(mode="json"))
        return
    print_fields(
        {
            "token": created.token,
            "id": created.id,
            "name": created.name,
            "scopes": ", ".join(created.scopes),
            "expires": minute(created.expires_at) or "never",
            "bound to": [f"{key}={value}" for key, value in created.context.items()],
        }
    )
    say("It is shown only now. Send it as `Authorization: Bearer TOKEN`.")


@token_app.command("list")
def list_tokens(context: typer.Context, output: OutputOption = None) -> None:
    """List the tokens, without their secrets."""
    from datetime import UTC, datetime

    tokens = _tokens(context).all()
    if wants_json(output):
        print_json({"tokens": [token.model_dump(mode="json") for token in tokens]})
        return
    now = datetime.now(UTC)
    print_table(
        ("ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "BOUND TO"),
        (
            (
                token.id,
                token.name,
                ",".join(token.scopes),
                minute(token.created_at),
                "expired" if token.expired(now) else minute(token.expires_at) or "never",
                " ".join(f"{key}={value}" for key, value in token.context.items()),
            )
            for token in tokens
        ),
        optional=("CREATED", "BOUND TO"),
    )


@token_app.command()
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="Its id or name.", metavar="ID")],
    output: OutputOption = None,
) -> None:
    """Take a token away; a running gateway refuses it at once."""
    revoked = _tokens(context).revoke(token)
    if wants_json(output):
        print_json({"revoked": revoked.model_dump(mode="json")})
    else:
        print_fields({"revoked": revoked.id, "name": revoked.name})


def _tokens(context: typer.Context) -> "TokenFile":
    import os

    from client.settings import load_settings
    from client.tokens import TokenFile

    settings = load_settings(config_file(context), os.environ).settings
    return TokenFile(settings.gateway.tokens_file)


def _bindings(pairs: list[str]) -> dict[str, str]:
    from domain.errors import DomainError, ErrorKind

    bound: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip() or not value.strip():
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "bind",
                f"bind must have the form NAME=VALUE, such as actor_user_id=alice, not {pair!r}",
            )
        bound[name.strip().replace("-", "_")] = value
    return bound
