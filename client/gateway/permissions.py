"""Which scope an operation needs, as the types of its parameters.

Owns the three kinds of callers and the problems that come with them. Source: DESIGN §7.
"""

from typing import Annotated, Final

from fastapi import Security

from client.gateway.auth import authenticated
from client.gateway.callers import caller
from client.gateway.problems import problem_responses
from client.tickless import TicklessClient
from client.tokens import Token, TokenScope
from domain.errors import ErrorKind

# The client that acts for whoever sent a request, whose token has the scope.
Reader = Annotated[TicklessClient, Security(caller, scopes=[TokenScope.READ])]
Runner = Annotated[TicklessClient, Security(caller, scopes=[TokenScope.RUN])]
Approver = Annotated[TicklessClient, Security(caller, scopes=[TokenScope.APPROVE])]
# The token alone, for what belongs to no caller.
ReadToken = Annotated[Token, Security(authenticated, scopes=[TokenScope.READ])]
AnyToken = Annotated[Token, Security(authenticated)]
AdminToken = Annotated[Token, Security(authenticated, scopes=[TokenScope.ADMIN])]

COMMON_PROBLEMS: Final = problem_responses(
    ErrorKind.INVALID_FIELD,
    ErrorKind.MISSING_FIELD,
    ErrorKind.UNKNOWN_FIELD,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.PERMISSION_DENIED,
    ErrorKind.AUTOMATION_DISABLED,
    ErrorKind.RATE_LIMITED,
    ErrorKind.UNAVAILABLE,
)
READ_PROBLEMS: Final = {**COMMON_PROBLEMS, **problem_responses(ErrorKind.NOT_FOUND)}
BODY_PROBLEMS: Final = {
    **COMMON_PROBLEMS,
    **problem_responses(
        ErrorKind.CONFLICT, ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE
    ),
}
CHANGE_PROBLEMS: Final = {**BODY_PROBLEMS, **problem_responses(ErrorKind.NOT_FOUND)}
