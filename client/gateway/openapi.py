"""The API's own description, OpenAPI 3.1, and what follows from it.

Owns what FastAPI cannot know: problems instead of its validation errors, the models of bodies that
`domain` reads, the headers of the context, and which operation follows from which answer. The query
parameters it names are those that `client.gateway.queries` accepts. Source: automation.md §13.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from client.context import CallerContext
from client.gateway.approvals import DecisionBody, ExtensionBody
from client.gateway.backfills import BackfillBody
from client.gateway.callers import header_name
from client.gateway.deliveries import ResolveBody
from client.gateway.events import EventBody, MessageBody
from client.gateway.goals import DESCRIBED as GOALS
from client.gateway.jobs import JobBody, JobMessageBody
from client.gateway.paths import API
from client.gateway.session_shapes import DESCRIBED as SESSIONS
from client.gateway.shapes import DESCRIBED
from client.settings.sections import ContextSettings

# 3.1, because the models' schemas are JSON Schema 2020-12.
VERSION: Final = "3.1.0"
_REF: Final = "#/components/schemas/{model}"

Description = dict[str, Any]

# Values of an answer that are parameters of further operations.
_LINKS: Final[Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]]] = {
    "createRoutine": {
        "201": {
            "getRoutine": {"routine_id": "$response.body#/id"},
            "patchRoutine": {"routine_id": "$response.body#/id"},
            "pauseRoutine": {"routine_id": "$response.body#/id"},
            "resumeRoutine": {"routine_id": "$response.body#/id"},
            "triggerRoutine": {"routine_id": "$response.body#/id"},
            "deleteRoutine": {"routine_id": "$response.body#/id"},
            "listRuns": {"routine_id": "$response.body#/id"},
            "backfillRoutine": {"routine_id": "$response.body#/id"},
        }
    },
    "triggerRoutine": {
        "202": {
            "getRun": {"run_id": "$response.body#/run_id"},
            "cancelRun": {"run_id": "$response.body#/run_id"},
            "watchRun": {"run_id": "$response.body#/run_id"},
        }
    },
    "sendMessage": {
        "202": {
            "getSession": {"key": "$response.body#/session_key"},
            "getMessage": {
                "key": "$response.body#/session_key",
                "message_id": "$response.body#/message_id",
            },
            "getQueue": {"key": "$response.body#/session_key"},
            "editQueue": {"key": "$response.body#/session_key"},
            "stopSession": {"key": "$response.body#/session_key"},
        }
    },
    "createJob": {
        "202": {
            "getJob": {"job_id": "$response.body#/job_id"},
            "listJobActions": {"job_id": "$response.body#/job_id"},
            "pauseJob": {"job_id": "$response.body#/job_id"},
            "resumeJob": {"job_id": "$response.body#/job_id"},
            "cancelJob": {"job_id": "$response.body#/job_id"},
            "sendToJob": {"job_id": "$response.body#/job_id"},
        }
    },
    "listGoals": {"200": {"listGoals": {"cursor": "$response.body#/next_cursor"}}},
    "listJobs": {"200": {"listJobs": {"cursor": "$response.body#/next_cursor"}}},
    "extendApproval": {"200": {"getApproval": {"approval_id": "$response.body#/id"}}},
    "decideApproval": {"200": {"getApproval": {"approval_id": "$response.body#/id"}}},
    "listSessions": {"200": {"listSessions": {"cursor": "$response.body#/next_cursor"}}},
    "listDeliveries": {"200": {"listDeliveries": {"cursor": "$response.body#/next_cursor"}}},
    "resendDelivery": {"202": {"getDelivery": {"delivery_id": "$response.body#/occurrence_id"}}},
    "listRoutines": {"200": {"listRoutines": {"cursor": "$response.body#/next_cursor"}}},
}


def describe(app: FastAPI, plain: Description) -> Description:
    """The description as it is served.

    Args:
        app: The application.
        plain: What FastAPI makes of it.
    """
    described: tuple[type[BaseModel], ...] = (
        *DESCRIBED,
        *SESSIONS,
        *GOALS,
        BackfillBody,
        DecisionBody,
        EventBody,
        ExtensionBody,
        JobBody,
        JobMessageBody,
        MessageBody,
        ResolveBody,
    )
    _, definitions = models_json_schema(
        [(model, "serialization") for model in described], ref_template=_REF
    )
    schemas = plain["components"]["schemas"]
    schemas.update(definitions["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in plain["paths"].items():
        for operation in operations.values():
            _complete(operation, with_context=path.startswith(API))
    return plain


def query_names(description: Description) -> dict[str, frozenset[str]]:
    """The query parameters of each operation, by its id."""
    return {
        operation["operationId"]: frozenset(
            item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"
        )
        for operations in description["paths"].values()
        for operation in operations.values()
    }


def _complete(operation: Description, *, with_context: bool) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    responses["500"] = {
        "description": "A fault of ours",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Fault")}}},
    }
    if with_context:
        operation.setdefault("parameters", []).extend(_context_headers())
    else:
        # From this machine it needs no token.
        operation["security"] = [{}, *operation["security"]]
    for code, targets in _LINKS.get(operation["operationId"], {}).items():
        responses[code]["links"] = {
            target: {"operationId": target, "parameters": dict(parameters)}
            for target, parameters in targets.items()
        }


def _context_headers() -> list[Description]:
    fields = ContextSettings.model_fields
    return [
        {
            "name": header_name(name),
            "in": "header",
            "required": False,
            "description": fields[name].description,
            "schema": {"type": "string", "maxLength": 512},
        }
        for name in CallerContext.model_fields
    ]
