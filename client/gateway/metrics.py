"""Figures of the gateway for Prometheus.

Owns the metrics, their names and labels. Labels are route templates, never ids: their number stays
small. Each gateway has a registry of its own.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from client.gateway.queues import QueueState

MEDIA_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
# Reads take milliseconds; what waits for a worker or for a run takes as long as it is allowed to.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The gateway's metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tickless_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tickless_http_request_seconds",
            "Time until the last byte of an answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.open_streams = 0
        Gauge(
            "tickless_live_streams", "Readers of live text.", registry=self._registry
        ).set_function(lambda: self.open_streams)
        self._pollers = self._gauge("tickless_queue_pollers", "Workers that have polled lately.")
        self._backlog = self._gauge("tickless_queue_backlog", "Tasks that wait.")
        self._age = self._gauge("tickless_queue_backlog_seconds", "Age of the oldest waiting task.")
        self._ready = Gauge(
            "tickless_ready", "1 where /readyz answers 200.", registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def looked(self, queues: Sequence[QueueState], *, ready: bool) -> None:
        """Keep what the last look at the queues has shown."""
        self._ready.set(int(ready))
        for state in queues:
            self._pollers.labels(state.queue, state.kind).set(state.pollers)
            self._backlog.labels(state.queue, state.kind).set(state.backlog)
            self._age.labels(state.queue, state.kind).set(state.backlog_seconds)

    @contextmanager
    def stream(self) -> Generator[None]:
        """Count a reader of live text for as long as it reads."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1

    def text(self) -> bytes:
        """All of them, in the text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, ("queue", "kind"), registry=self._registry)
