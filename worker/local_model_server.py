"""The local model's process: started, waited for and ended by the process that uses it.

Owns the child that runs `worker.llama_server`. Does not own the weights (`worker.local_model`).
Source: DESIGN §8.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from worker import llama_server
from worker.child_process import ChildOptions, ChildProcess
from worker.local_model import LocalModelError

_STOP_GRACE = timedelta(seconds=2)
_RETRY_SECONDS = 0.02


@dataclass(frozen=True)
class LocalModelOptions:
    """What the model's server is started with.

    Attributes:
        model: GGUF file.
        log_file: Takes everything llama.cpp writes.
        alias: The model's name in the API.
        context_tokens: Size of the context window; memory is taken for all of it.
        threads: Threads that compute.
        start_timeout: Longest time for loading.
    """

    model: Path
    log_file: Path
    alias: str = "local"
    context_tokens: int = 8192
    threads: int = field(default_factory=llama_server.default_threads)
    start_timeout: timedelta = timedelta(seconds=60)


class LocalModelServer:
    """An OpenAI-compatible server with one model; as an async context manager, started and stopped.

    The system picks the port at the first start; later starts keep it.
    """

    def __init__(self, options: LocalModelOptions) -> None:
        self._options = options
        self._child: ChildProcess | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:<port>/v1`.

        Raises:
            RuntimeError: Before the first start.
        """
        if self._base_url is None:
            raise RuntimeError("the local model was not started, so it has no address")
        return self._base_url

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        return self._child.pid if self._child and self._child.exit_code is None else None

    async def start(self) -> None:
        """Load the model and wait until it answers.

        Raises:
            LocalModelError: The runtime is not installed, or the server does not come up: then with
                the last lines of its log, and nothing is left running.
            RuntimeError: It is running already.
        """
        if self.pid is not None:
            raise RuntimeError(f"the local model is running already, as process {self.pid}")
        if not find_spec("xllamacpp"):
            raise LocalModelError.because(
                "its runtime is not installed (extra `local-model`: `pip install xllamacpp`)"
            )
        options = ChildOptions(
            self._command(), self._options.log_file, read_stdout=True, hold_stdin=True
        )
        try:
            child = await ChildProcess.start(options)
        except OSError as error:
            reason = f"its log {error.filename} cannot be written ({error.strerror})"
            raise LocalModelError.because(reason) from error
        try:
            self._base_url = await self._ready(child)
        except BaseException:
            await child.kill()
            raise
        self._child = child

    async def wait(self) -> int:
        """Wait until the process ends, for whoever wants to notice that; returns its exit code."""
        if self._child is None:
            raise RuntimeError("the local model was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """End the process and give its memory back; answers under way are cut off."""
        if self._child:
            await self._child.stop(_STOP_GRACE)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _command(self) -> list[str]:
        options = self._options
        # After the first start the port is part of what clients know.
        port = urlsplit(self._base_url).port if self._base_url else 0
        return [
            # By path and with -P: found from any folder, and no module next to it is in the way.
            *(sys.executable, "-P", llama_server.__file__, "--stop-on-eof"),
            *("--model", str(options.model), "--alias", options.alias, "--port", str(port)),
            *("--context", str(options.context_tokens), "--threads", str(options.threads)),
        ]

    async def _ready(self, child: ChildProcess) -> str:
        """The address the child announces, once it answers there."""
        seconds = self._options.start_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                line = await child.read_line()
                if line:
                    base_url: str = json.loads(line)["base_url"]
                    await _answers(base_url)
                    return base_url
                problem = f"ended with exit code {await child.wait()}"
        except TimeoutError:
            problem = f"did not answer within {seconds:g} s"
        raise LocalModelError.because(
            f"{self._options.model.name} {problem}; "
            f"the end of {self._options.log_file}:\n{child.log_tail()}\n"
        )


async def _answers(base_url: str) -> None:
    # A proxy of the environment must not get between two processes of one machine.
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                response = await client.get(f"{base_url}/models")
            except httpx.TransportError:
                pass
            else:
                if response.is_success:
                    return
            await asyncio.sleep(_RETRY_SECONDS)
