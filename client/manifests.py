"""Manifests: the routines of a scope as files say them, kept under version control.

Owns the library calls: export what there is, plan what a set of manifests changes, apply the plan.
What a manifest says is `client.manifest_fields`', files are `client.manifest_files`'.
Source: automation.md §6, §15 "Snapshot".

Invariants:
    1. All manifests are checked, each change tried on the routine as it is, before one is made.
    2. A change is made to the revision it was planned for; a concurrent change is a conflict.
    3. What is deleted is deleted last, and only when all else went well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from client.context import CallerContext
from client.goals import Goals
from client.manifest_fields import Owner, manifest_of, patches_for, wanted_by
from client.pages import MAX_LIMIT
from client.routines import Routines
from domain.actor import preferred_id
from domain.errors import DomainError, ErrorKind, FieldProblem, Problem
from domain.fields import problems_of, raise_first
from domain.goal_record import Goal
from domain.routine import Routine, RoutineStatus, can_manage, validate_name

AT_ONCE = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Manifest(BaseModel):
    """One routine as somebody wants it: the body of its creation, with `id`, and where it stands.

    `status` (`active`, `paused`) may stand in it too; see `client.manifest_fields`.
    """

    model_config = ConfigDict(frozen=True)

    body: dict[str, Any]
    source: str = "manifest"


class Export(BaseModel):
    """The routines of a scope as manifests, by id, and its goals as they stand.

    Goals are for the record: what they are about has a past that no file can give them.
    """

    version: Literal[1] = 1
    routines: list[dict[str, Any]]
    goals: list[dict[str, Any]] = []

    def manifests(self) -> list[Manifest]:
        """The same, to be planned with."""
        return [Manifest(body=body, source=str(body["id"])) for body in self.routines]


class ChangeKind(StrEnum):
    """What becomes of a routine."""

    CREATE = "create"
    PATCH = "patch"
    RESTORE = "restore"
    UNCHANGED = "unchanged"
    DELETE = "delete"


class Change(BaseModel):
    """What becomes of one routine; `fields` are those that are set or changed.

    `body` creates it, `patches` change the given `revision` of it, one after the other.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    change: ChangeKind
    fields: list[str] = []
    source: str = ""
    body: dict[str, Any] = {}
    patches: list[dict[str, Any]] = []
    revision: int | None = None


class Plan(BaseModel):
    """What applying manifests does, routine by routine, by id; deletions come last."""

    changes: list[Change]


class AppliedChange(BaseModel):
    """What became of one routine: its revision, or the problem; `accepted` waits for a worker."""

    id: str
    change: ChangeKind
    fields: list[str] = []
    source: str = ""
    revision: int | None = None
    accepted: bool = False
    problem: Problem | None = None


class Applied(BaseModel):
    """What became of a plan."""

    changes: list[AppliedChange]

    def raise_problems(self) -> None:
        """Raise what went wrong.

        Raises:
            DomainError: The first problem; `errors` lists all when there are several.
        """
        raise_first(
            [
                FieldProblem(
                    kind=item.problem.kind,
                    field=item.problem.field,
                    message=f"{item.source or item.id}: {item.problem.detail}",
                    accepted=item.problem.accepted,
                )
                for item in self.changes
                if item.problem
            ]
        )


class Manifests:
    """Library calls for manifests, in the scope of one caller."""

    def __init__(
        self,
        routines: Routines,
        goals: Goals,
        context: CallerContext,
        *,
        default_timezone: str = "UTC",
    ) -> None:
        self._routines = routines
        self._goals = goals
        self._context = context
        self._default_timezone = default_timezone

    async def export(self) -> Export:
        """All routines of the scope but deleted ones, as manifests, and its goals."""
        routines = await self._listed()
        goals = await self._goals.of_scope()
        return Export(
            routines=[manifest_of(routines[name]) for name in sorted(routines)],
            goals=[goal.model_dump(mode="json", include=set(Goal.model_fields)) for goal in goals],
        )

    async def plan(
        self,
        manifests: Iterable[Manifest],
        *,
        prune: bool = False,
        problems: Sequence[FieldProblem] = (),
    ) -> Plan:
        """What applying manifests would change; changes nothing.

        Args:
            manifests: What is wanted.
            prune: Also delete the routines of the scope that are in no manifest.
            problems: What is known to be wrong already; told together with the rest.

        Raises:
            DomainError: Everything that is wrong with any manifest, each with its source.
        """
        found = list(problems)
        wanted = _by_id(manifests, found)
        if not wanted and not found:
            message = "manifests are missing: there is none"
            raise DomainError(ErrorKind.MISSING_FIELD, "manifests", message)
        listed = await self._listed()
        unlisted = [name for name in wanted if name not in listed]
        others = await _gather(self._present, unlisted)
        present = {**listed, **{routine.id: routine for routine in others if routine}}
        changes: list[Change] = []
        for name, manifest in sorted(wanted.items()):
            try:
                changes.append(self._change(name, manifest, present.get(name)))
            except DomainError as error:
                found += _located(manifest.source, error)
        if prune:
            changes += self._deletions([listed[key] for key in listed if key not in wanted], found)
        raise_first(found)
        return Plan(changes=changes)

    async def apply(self, plan: Plan) -> Applied:
        """Carry out a plan; a change that fails does not keep the others from being made."""
        changes = [change for change in plan.changes if change.change != ChangeKind.DELETE]
        applied = await _gather(self._apply, changes)
        if not any(item.problem for item in applied):
            deletions = [change for change in plan.changes if change.change == ChangeKind.DELETE]
            applied += await _gather(self._apply, deletions)
        return Applied(changes=applied)

    # Inside

    async def _listed(self) -> dict[str, Routine]:
        """The routines of the scope but deleted ones, which a list may still show for a moment."""
        found: dict[str, Routine] = {}
        cursor: str | None = None
        while True:
            page = await self._routines.list(limit=MAX_LIMIT, cursor=cursor)
            for record in page.routines:
                routine = Routine.model_validate(record)
                if routine.status != RoutineStatus.DELETED:
                    found[routine.id] = routine
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def _present(self, name: str) -> Routine | None:
        """A routine that was not listed: a deleted one, or one that was created just now."""
        try:
            return (await self._routines.get(name)).routine
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise

    def _change(self, name: str, manifest: Manifest, present: Routine | None) -> Change:
        now, actor = datetime.now(UTC), self._context.actor()
        owner = Owner(self._context.scope(), self._context.route(), actor)
        if present is None:
            validate_name(name)
        wanted = wanted_by(manifest.body, present, owner, now, self._default_timezone)
        if present is None:
            given = manifest.body.items()
            fields = [key for key, value in given if value is not None and key != "id"]
            return Change(
                id=name,
                change=ChangeKind.CREATE,
                fields=fields,
                source=manifest.source,
                body=wanted.body,
            )
        patches = patches_for(present, wanted, preferred_id(actor), now, self._default_timezone)
        restored = bool(patches) and present.deleted_at is not None
        kind = ChangeKind.PATCH if patches else ChangeKind.UNCHANGED
        return Change(
            id=name,
            change=ChangeKind.RESTORE if restored else kind,
            fields=list(dict.fromkeys(key for patch in patches for key in patch)),
            source=manifest.source,
            patches=patches,
            revision=present.revision,
        )

    def _deletions(self, routines: Sequence[Routine], found: list[FieldProblem]) -> list[Change]:
        actor = preferred_id(self._context.actor())
        for routine in routines:
            if not can_manage(routine, actor):
                message = f"{routine.id}: manage_mode is creator_only: {actor!r} may not delete it"
                kind = ErrorKind.PERMISSION_DENIED
                found.append(FieldProblem(kind=kind, field="manage_mode", message=message))
        names = sorted(routine.id for routine in routines)
        return [Change(id=name, change=ChangeKind.DELETE) for name in names]

    async def _apply(self, change: Change) -> AppliedChange:
        done = AppliedChange(
            id=change.id, change=change.change, fields=change.fields, source=change.source
        )
        try:
            match change.change:
                case ChangeKind.CREATE:
                    created = await self._routines.create(change.body, name=change.id)
                    return done.model_copy(
                        update={
                            "accepted": created.accepted,
                            "revision": (created.routine or {}).get("revision"),
                        }
                    )
                case ChangeKind.DELETE:
                    deleted = await self._routines.delete(change.id)
                    return done.model_copy(update={"revision": deleted.routine.revision})
                case _:
                    return done.model_copy(update={"revision": await self._patch(change)})
        except DomainError as error:
            return done.model_copy(update={"problem": error.to_problem()})

    async def _patch(self, change: Change) -> int | None:
        revision = change.revision
        for patch in change.patches:
            answer = await self._routines.patch(change.id, patch, if_revision=revision)
            revision = answer.routine.revision
        return revision


def _by_id(manifests: Iterable[Manifest], problems: list[FieldProblem]) -> dict[str, Manifest]:
    """The manifests by the id they name; what has none, or one that was named, is a problem."""
    found: dict[str, Manifest] = {}
    for manifest in manifests:
        try:
            name = _id_of(manifest.body)
            if name in found:
                message = f"id {name!r} stands in {found[name].source} too"
                raise DomainError(ErrorKind.INVALID_FIELD, "id", message)
            found[name] = manifest
        except DomainError as error:
            problems += _located(manifest.source, error)
    return found


def _id_of(body: Mapping[str, Any]) -> str:
    given = body.get("id")
    # What the service named itself can be changed by its name, but not be created under it.
    if isinstance(given, str) and given.startswith("routine_"):
        return given
    return validate_name(given)


def _located(source: str, error: DomainError) -> list[FieldProblem]:
    return [
        problem.model_copy(update={"message": f"{source}: {problem.message}"})
        for problem in problems_of(error)
    ]


async def _gather(
    call: Callable[[_Item], Awaitable[_Result]], items: Sequence[_Item]
) -> list[_Result]:
    """The results in order, a few calls at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: _Item) -> _Result:
        async with gate:
            return await call(item)

    return list(await asyncio.gather(*(one(item) for item in items)))
