"""A place outside of Tickless where tools have their effects: an HTTP server that counts requests.

Owns the count by path, and holding answers back: a request that is held has arrived, and whoever
sent it does not know yet.
"""

import re
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

# Whoever sent it is gone by then.
LONGEST_HOLD_SECONDS = 120


class Effects:
    """What has happened; all of it may be asked from any thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._counts: Counter[str] = Counter()
        self._held: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def url(self, path: str) -> str:
        """The address that has the effect of this path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def hold(self, path: str) -> threading.Event:
        """Hold the answers of a path back until the event is set."""
        return self._held.setdefault(path, threading.Event())

    def let_go(self) -> None:
        """Hold nothing back any more."""
        for gate in list(self._held.values()):
            gate.set()

    def count(self, path: str) -> int:
        """How often it has happened."""
        with self._lock:
            return self._counts[path]

    def happens(self, request: Request) -> Response:
        """Count a request, and answer when it is not held any more."""
        path = request.path.removeprefix("/")
        with self._lock:
            self._counts[path] += 1
        if (gate := self._held.get(path)) is not None:
            gate.wait(LONGEST_HOLD_SECONDS)
        return Response("done")


@contextmanager
def running_effects() -> Generator[Effects]:
    """A server of effects; what is still held at the end is let go."""
    server = HTTPServer("127.0.0.1", threaded=True)
    server.start()
    effects = Effects(server.port)
    server.expect_request(re.compile(".*")).respond_with_handler(effects.happens)
    try:
        yield effects
    finally:
        effects.let_go()
        server.stop()
