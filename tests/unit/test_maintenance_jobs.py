"""Maintenance jobs: what may be registered (automation.md §11, §14 row 53)."""

from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from domain.errors import DomainError
from domain.identifiers import maintenance_id
from domain.maintenance import MaintenanceJobs, MaintenanceReport, Work
from tests.support.routines import NOW, assert_refused, refusal

MINUTE = timedelta(minutes=1)


async def sweep(at: datetime) -> dict[str, Any]:
    return {"at": at.isoformat()}


def registered(*names: str) -> MaintenanceJobs:
    jobs = MaintenanceJobs()
    for name in names:
        jobs.register(name, MINUTE, sweep)
    return jobs


class TestRegistered:
    async def test_a_job_is_found_by_its_name(self) -> None:
        job = registered("sweep").get("sweep")
        assert job is not None
        assert (job.name, job.interval) == ("sweep", MINUTE)
        assert await job.work(NOW) == {"at": "2026-02-01T12:00:00+00:00"}

    def test_another_name_is_none(self) -> None:
        assert registered("sweep").get("other") is None

    def test_all_in_order(self) -> None:
        assert [job.name for job in registered("watchdog", "sweep", "age")] == [
            "watchdog",
            "sweep",
            "age",
        ]

    def test_none_at_first(self) -> None:
        assert list(MaintenanceJobs()) == []

    def test_blanks_around_a_name_do_not_matter(self) -> None:
        job = registered(" sweep\n").get("sweep")
        assert job is not None
        assert job.name == "sweep"

    def test_a_second_is_the_shortest_interval(self) -> None:
        jobs = MaintenanceJobs()
        jobs.register("sweep", timedelta(seconds=1), sweep)
        assert [job.interval for job in jobs] == [timedelta(seconds=1)]


class TestRow53:
    def refused(self, jobs: MaintenanceJobs, name: str, **fields: Any) -> DomainError:
        """The error; the jobs that are there stay as they are."""
        before = list(jobs)
        given = {"interval": MINUTE, "work": sweep, **fields}
        error = refusal(lambda: jobs.register(name, **given))
        assert list(jobs) == before
        return error

    @pytest.mark.parametrize("name", ["", "  ", "\t\n"])
    def test_a_blank_name(self, name: str) -> None:
        error = self.refused(registered("watchdog"), name)
        assert_refused(error, "missing_field", "name", "name is missing")

    @pytest.mark.parametrize(
        "interval", [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=999)]
    )
    def test_no_interval(self, interval: timedelta) -> None:
        error = self.refused(registered("watchdog"), "sweep", interval=interval)
        assert_refused(error, "invalid_field", "interval", "'sweep'", "> 0")

    @pytest.mark.parametrize("name", ["sweep", " sweep "])
    def test_a_name_that_is_taken(self, name: str) -> None:
        error = self.refused(registered("sweep"), name)
        assert_refused(error, "conflict", "name", "'sweep'", "already")

    @pytest.mark.parametrize("work", [None, "sweep", 5])
    def test_what_cannot_be_called(self, work: object) -> None:
        error = self.refused(registered("watchdog"), "sweep", work=cast("Work", work))
        assert_refused(error, "invalid_field", "work", "'sweep'", "coroutine function")


def test_a_report_says_what_was_done_or_what_failed() -> None:
    done = MaintenanceReport(name="sweep", at=NOW, result={"removed": 3})
    failed = MaintenanceReport(name="sweep", at=NOW, error="boom")
    assert (done.result, done.error) == ({"removed": 3}, None)
    assert (failed.result, failed.error) == ({}, "boom")
    assert MaintenanceReport.model_validate_json(done.model_dump_json()) == done


def test_a_jobs_schedule_is_named_for_it() -> None:
    assert maintenance_id("sweep") == "maintenance/sweep"
