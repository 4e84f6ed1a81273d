"""What a check of `tickless doctor` ends with.

Owns the form of a finding and its three ways to end. The checks are `client.doctor`'s and
`client.model_checks`'.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Health(StrEnum):
    """How a check ended; a warning leaves things working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(BaseModel):
    """What one check found, and what to do when it is not right."""

    model_config = ConfigDict(frozen=True)

    check: str
    health: Health
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """All is right."""
    return Finding(check=check, health=Health.OK, found=found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, but a person should know of it."""
    return Finding(check=check, health=Health.WARNING, found=found, advice=advice)


def failed(check: str, found: str, advice: str) -> Finding:
    """It does not work, and this is what to do."""
    return Finding(check=check, health=Health.FAILED, found=found, advice=advice)
