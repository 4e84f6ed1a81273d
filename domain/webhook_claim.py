"""What a routine publishes of its webhook, so that a delivery is judged without asking it.

Owns the value of the memo `webhook` of a routine's workflow and its limit (DESIGN §3: a memo has at
most 300 bytes). Literals in it are sealed. How a delivery is verified is `domain.webhooks`'.
Source: triggers-and-actions.md §3.

Invariants:
    1. A path that is null stands for the routine's id.
    2. Of several claims of one path the oldest counts; claims of one moment are told apart by id.
"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.trigger_models import Secret, Trigger, WebhookScheme, WebhookTrigger

MEMO: Final = "webhook"
# What the server keeps is at most this long with what the SDK adds to a value.
MAX_MEMO_BYTES: Final = 260


class WebhookClaim(BaseModel):
    """A routine's webhook.

    Attributes:
        path: Where deliveries are posted.
        at: When the path was claimed, in milliseconds since the epoch.
        scheme: How deliveries are signed.
        unsigned: Whether deliveries are taken without a signature when there is no secret.
        secrets: Each as a reference or sealed; null where they are too long for a memo and the
            routine has to be asked.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    at: int
    scheme: WebhookScheme = WebhookScheme.AUTO
    unsigned: bool = False
    secrets: list[Secret] | None = Field(default=[], repr=False)

    @property
    def memo(self) -> dict[str, object]:
        """The claim as JSON that fits into a memo and holds no literal, whoever sent it."""
        value = self.model_dump(mode="json", exclude_defaults=True)
        too_long = len(self.model_dump_json(exclude_defaults=True).encode()) > MAX_MEMO_BYTES
        if too_long or any(isinstance(one, str) for one in self.secrets or ()):
            value["secrets"] = None
        return value


def webhook_claim(
    routine_id: str, trigger: Trigger, now: datetime, former: WebhookClaim | None = None
) -> WebhookClaim | None:
    """What a routine with this trigger claims; null when it is no webhook.

    Args:
        routine_id: The routine.
        trigger: Its trigger, literals sealed.
        now: When a path that is new is claimed.
        former: The claim so far; the same path stays claimed since then.
    """
    if not isinstance(trigger, WebhookTrigger):
        return None
    path = trigger.path or routine_id
    kept = former is not None and former.path == path
    return WebhookClaim(
        path=path,
        at=former.at if former is not None and kept else int(now.timestamp() * 1000),
        scheme=trigger.scheme,
        unsigned=trigger.allow_unsigned,
        secrets=secrets_of(trigger),
    )


def secrets_of(trigger: WebhookTrigger) -> list[Secret]:
    """The secrets of a trigger, any of which may have signed."""
    secret = trigger.secret
    if secret is None:
        return []
    return list(secret) if isinstance(secret, list) else [secret]


def stronger(claim: WebhookClaim, owner: str, other: WebhookClaim, other_owner: str) -> bool:
    """Whether a claim comes before another one of the same path."""
    return (claim.at, owner) < (other.at, other_owner)
