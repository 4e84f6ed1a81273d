"""Slots: how many of something may run at once in a deployment, and who is next.

Owns the payloads of the workflow `Slots`. Who gets a slot is `domain.lease_queue`'s.
Source: DESIGN §3 rule 8, triggers-and-actions.md §6.

Invariant: the capacity is that of the newest request: it is a setting of the workers.
"""

from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.lease_queue_state import LeaseQueueState, RequestLease

SLOTS_PREFIX: Final = "slots/"
JOB_SLOTS: Final = "jobs"


class SlotsState(BaseModel):
    """Everything the workflow `Slots` carries from one execution to the next.

    `schema_version` grows when a field changes its meaning; new fields have defaults instead.
    """

    schema_version: int = 1
    name: str
    leases: LeaseQueueState = LeaseQueueState()


class RequestSlot(BaseModel):
    """Ask for one of the slots of a name; `capacity` is filled in by the worker's activity."""

    model_config = ConfigDict(frozen=True)

    name: str = JOB_SLOTS
    lease: RequestLease
    capacity: int = Field(default=1, ge=1)


class ReleaseSlot(BaseModel):
    """Give a slot back, or stop waiting for one: by the token of a grant, or by the owner."""

    model_config = ConfigDict(frozen=True)

    key: str


class SlotUser(BaseModel):
    """Who holds a slot or waits for one, since when."""

    model_config = ConfigDict(frozen=True)

    owner: str
    since: AwareDatetime


class SlotsView(BaseModel):
    """The answer of the query `view`; those who wait are in the order of their turns."""

    model_config = ConfigDict(frozen=True)

    name: str
    capacity: int
    holders: list[SlotUser] = []
    waiting: list[SlotUser] = []


def slots_workflow_id(name: str) -> str:
    """`slots/<name>`."""
    return SLOTS_PREFIX + name


def slots_view(state: SlotsState) -> SlotsView:
    """The slots as their readers see them."""
    leases = state.leases
    return SlotsView(
        name=state.name,
        capacity=leases.capacity,
        holders=[SlotUser(owner=one.owner, since=one.granted_at) for one in leases.holders],
        waiting=[SlotUser(owner=one.owner, since=one.since) for one in leases.waiting],
    )
