"""The HTTP protocol of the gateway: what is no HTTP is refused in the form of all other errors.

Owns only that answer. Such a request never reaches the application: the parser, which is h11's,
cannot read it, and the server's own answer would be a plain text.

Invariant: the connection is closed, because nobody knows where the next request on it begins.
"""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from client.gateway.problems import MEDIA_TYPE
from domain.errors import DomainError, ErrorKind


class ProblemProtocol(H11Protocol):
    """HTTP/1.1 with problems in place of plain texts."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read as a request, and close the connection."""
        error = DomainError(ErrorKind.INVALID_FIELD, "request", f"the request is no HTTP: {msg}")
        body = json.dumps(error.to_problem().model_dump(mode="json")).encode()
        headers = [
            ("content-type", MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        except h11.LocalProtocolError:
            # An answer is under way already, to a request whose body turned out to be none.
            pass
        self.transport.close()
