"""What a session can be asked, and what it carries and shows.

Owns the payloads of the messages of the workflow `Session`. Source: DESIGN §3, automation.md §8.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.lease_queue_state import LeaseKind, LeaseQueueState, RequestLease


class SessionState(BaseModel):
    """Everything the workflow `Session` carries from one execution to the next.

    `schema_version` grows when a field changes its meaning; new fields have defaults instead.
    """

    schema_version: int = 1
    key: str
    leases: LeaseQueueState = LeaseQueueState()


class RequestSession(BaseModel):
    """Ask for a session on behalf of a workflow; `key` is a session key in any of its forms."""

    model_config = ConfigDict(frozen=True)

    key: str
    lease: RequestLease


class ReleaseSession(BaseModel):
    """Let a session go: by the token of a grant, or by the owner that holds or waits."""

    model_config = ConfigDict(frozen=True)

    key: str


class SessionHolder(BaseModel):
    """Who holds the session, since when."""

    model_config = ConfigDict(frozen=True)

    owner: str
    kind: LeaseKind
    since: AwareDatetime


class SessionView(BaseModel):
    """The answer of the query `view`."""

    model_config = ConfigDict(frozen=True)

    key: str
    active: bool
    holder: SessionHolder | None = None
    waiting: int = 0


class SessionQueue(BaseModel):
    """The answer of the query `queue`: who waits, in the order of their turns."""

    model_config = ConfigDict(frozen=True)

    waiting: list[SessionHolder] = []


def session_view(state: SessionState) -> SessionView:
    """The session as its readers see it."""
    holder = next(iter(state.leases.holders), None)
    return SessionView(
        key=state.key,
        active=holder is not None,
        holder=holder
        and SessionHolder(owner=holder.owner, kind=holder.kind, since=holder.granted_at),
        waiting=len(state.leases.waiting),
    )


def session_queue(state: SessionState) -> SessionQueue:
    """Who waits for the session."""
    return SessionQueue(
        waiting=[
            SessionHolder(owner=one.owner, kind=one.kind, since=one.since)
            for one in state.leases.waiting
        ]
    )
