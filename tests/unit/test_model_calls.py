"""Writes that end although their caller is cancelled, and the wording of a connection's timeout."""

import asyncio

import httpx2
import pytest
from openai import APITimeoutError

from activities import model_calls
from activities.model_calls import finished
from activities.provider_errors import classify
from domain.fallback import FailureClass
from domain.model_chain import ModelSpec


async def test_a_write_ends_although_its_caller_is_cancelled() -> None:
    begun, release, written = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await release.wait()
        written.set()

    task = asyncio.create_task(finished(write()))
    await begun.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(release.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written.is_set()


async def test_a_write_that_fails_meanwhile_does_not_hide_the_cancellation() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await release.wait()
        raise OSError("disk full")

    task = asyncio.create_task(finished(write()))
    await begun.wait()
    task.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_write_that_hangs_does_not_hold_up_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_calls, "FINISH_AFTER_CANCEL", model_calls.FINISH_AFTER_CANCEL / 100)
    begun, release = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await release.wait()

    task = asyncio.create_task(finished(write()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()


async def test_a_write_that_fails_is_an_error() -> None:
    async def write() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await finished(write())


def test_a_connection_that_is_not_made_in_time_says_so() -> None:
    error = APITimeoutError(httpx2.Request("POST", "http://127.0.0.1/v1"))
    error.__cause__ = httpx2.ConnectTimeout("slow")
    found = classify(error, ModelSpec(name="m1", connect_timeout_seconds=3))
    assert found.message == "no connection within 3 s"
    assert found.decision.failure_class is FailureClass.TIMEOUT
