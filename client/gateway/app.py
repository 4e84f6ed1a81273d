"""The application: every route, and what all of them have in common.

Owns the list of nouns that the API has. A new noun is a module with a `router` and a line here;
what needs no token and stands outside of `/api/v1`, such as webhooks, is added beside the health
routes. Source: automation.md §13.
"""

from collections.abc import Collection
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import compile_path
from starlette.types import ASGIApp

from client.gateway import (
    approvals,
    backfills,
    codec,
    costs,
    deliveries,
    events,
    goals,
    health,
    jobs,
    live,
    openapi,
    routines,
    runs,
    schedules,
    sessions,
    system,
    tools,
    watchdog,
    webhooks,
)
from client.gateway.layers import Layers
from client.gateway.parts import Parts
from client.gateway.paths import API, SentPathRoute
from client.gateway.permissions import COMMON_PROBLEMS, ReadToken
from client.gateway.problems import Address, add_handlers

# `live` and `tools` before `runs`: all begin with a run's id.
_OUTSIDE = (health, webhooks, codec)
_NOUNS = (
    routines,
    approvals,
    backfills,
    deliveries,
    events,
    goals,
    jobs,
    live,
    tools,
    runs,
    schedules,
    sessions,
    system,
    watchdog,
    costs,
)


def create_app(parts: Parts, hosts: Collection[str]) -> ASGIApp:
    """The application around its parts.

    Args:
        parts: What all requests share.
        hosts: The names that requests may be addressed to.
    """
    app = FastAPI(
        title="Tickless",
        summary="Durable routines and goals for LLM agents, on Temporal.",
        version=_version(),
        # Its pages load scripts from elsewhere; the description is at its own address.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    add_handlers(app)
    description = APIRouter(prefix=API, tags=["description"])
    description.add_api_route(
        "/openapi.json",
        _description,
        operation_id="getDescription",
        response_class=JSONResponse,
        responses=COMMON_PROBLEMS,
    )
    addresses: list[Address] = []
    for router in (*(noun.router for noun in (*_OUTSIDE, *_NOUNS)), description):
        app.include_router(router)
        addresses += _addresses(router)
    app.state.addresses = addresses
    app.openapi_version = openapi.VERSION
    plain = app.openapi
    app.openapi = cache(lambda: openapi.describe(app, plain()))  # type: ignore[method-assign]
    app.state.query_names = openapi.query_names(app.openapi())
    return Layers(app, hosts, parts.metrics)


async def _description(request: Request, _token: ReadToken) -> dict[str, Any]:
    """This description."""
    found: dict[str, Any] = request.app.openapi()
    return found


def _addresses(router: APIRouter) -> list[Address]:
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    return [
        (compile_path(route.path)[0], route.methods or (), isinstance(route, SentPathRoute))
        for route in routes
    ]


def _version() -> str:
    try:
        return version("tickless")
    except PackageNotFoundError:  # run from its folder, not installed
        return "0"
