"""What a lease queue remembers, and what it says to those who ask.

Owns the models: the state that goes through continue-as-new, the request, its answer and what is
signalled later. What changes them is `domain.lease_queue`'s. Source: DESIGN §3 rules 8 and 10.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class LeaseKind(StrEnum):
    """Who asks: a user's turn goes ahead of automation."""

    USER = "user"
    AUTOMATION = "automation"


class LeaseDecision(StrEnum):
    """What became of a request; `check` is not booked: look at the holders, then ask again."""

    GRANTED = "granted"
    QUEUED = "queued"
    CHECK = "check"


class LeaseEnd(StrEnum):
    """How a lease, or the wait for one, came to its end.

    `released` by its owner, `withdrawn` while it waited, `revoked` after an interrupt that was not
    followed, `lost` with its workflow, `superseded` by a later request of the same owner.
    """

    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    LOST = "lost"
    SUPERSEDED = "superseded"


class RequestLease(BaseModel):
    """Ask for a lease.

    `owner` is the workflow id that is signalled and looked at, `request_id` names this request
    among the owner's. `front` puts one that gave its place back ahead of those who never had one.
    `closed` are tokens whose owner's workflow was seen closed since a former answer `check`, which
    `checked` says. `repeat` counts how often one request was sent anew, because its answer may no
    longer stand.
    """

    model_config = ConfigDict(frozen=True)

    owner: str = Field(min_length=1)
    request_id: str = Field(min_length=1)
    kind: LeaseKind = LeaseKind.AUTOMATION
    lease_seconds: int = Field(gt=0)
    front: bool = False
    checked: bool = False
    closed: list[str] = []
    repeat: int = 0


class LeaseRef(BaseModel):
    """A lease by its holder and its token; whoever holds another token does not hold this one."""

    model_config = ConfigDict(frozen=True)

    owner: str
    token: str

    @property
    def request_id(self) -> str:
        """The request that got the token."""
        return self.token.partition("/")[2]


class LeaseAnswer(BaseModel):
    """The answer to a request.

    `token` with `granted`, `position` (1 is next) with `queued`, `holders` with `check`. `ended`
    is null while the answer stands; otherwise it says why it no longer does.
    """

    model_config = ConfigDict(frozen=True)

    decision: LeaseDecision
    token: str | None = None
    position: int | None = None
    holders: list[LeaseRef] = []
    ended: LeaseEnd | None = None


class Granted(BaseModel):
    """The signal `granted`: the request `lease` has its turn, with this token."""

    model_config = ConfigDict(frozen=True)

    lease: str
    token: str


class Grant(BaseModel):
    """A signal `granted` that has to go out."""

    model_config = ConfigDict(frozen=True)

    owner: str
    signal: Granted


class Holder(BaseModel):
    """Somebody who holds a lease.

    `lease_until` is a time to look at its workflow; `revoke_at` is set once it was interrupted.
    """

    owner: str
    request_id: str
    token: str
    kind: LeaseKind
    lease_seconds: int
    granted_at: AwareDatetime
    lease_until: AwareDatetime
    revoke_at: AwareDatetime | None = None

    @property
    def ref(self) -> LeaseRef:
        """The lease, as others name it."""
        return LeaseRef(owner=self.owner, token=self.token)


class Waiting(BaseModel):
    """Somebody who waits for a lease, `since` it asked."""

    owner: str
    request_id: str
    kind: LeaseKind
    lease_seconds: int
    front: bool = False
    since: AwareDatetime


class Remembered(BaseModel):
    """The answer to a request that is over; kept for whoever lost it."""

    owner: str
    request_id: str
    answer: LeaseAnswer
    ended_at: AwareDatetime


class LeaseQueueState(BaseModel):
    """Everything a lease queue carries from one execution of its workflow to the next.

    `holders` and `remembered` are in the order of their beginning and end, `waiting` in the order
    of its turns. `grant_count` numbers the tokens. `grants` and `interrupts` have still to go out.
    """

    schema_version: int = 1
    capacity: int = Field(default=1, ge=1)
    holders: list[Holder] = []
    waiting: list[Waiting] = []
    remembered: list[Remembered] = []
    grant_count: int = 0
    grants: list[Grant] = []
    interrupts: list[LeaseRef] = []
