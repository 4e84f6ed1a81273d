"""The local model as a process: llama.cpp's OpenAI-compatible server on the loopback.

Run as `python -m worker.llama_server --model PATH` (`--help` lists the options). Writes one line of
JSON, `{"base_url": …}`, to standard output once it answers; all else, llama.cpp's own output
included, goes to standard error. Ends on SIGTERM, and with `--stop-on-eof` when its standard input
does, as it does when the parent ends in whatever way.

Owns the server's parameters. A process of its own, because the computation would starve the event
loop of a worker and its memory should go when it does; imports the standard library and llama.cpp
only. Source: DESIGN §8.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Event
from types import FrameType, ModuleType
from typing import NoReturn

_LOOPBACK = "127.0.0.1"
_CACHE_MIB = 64
_ERRORS_ONLY = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the model and serve until told to stop.

    Args:
        arguments: Those of the command line.

    Raises:
        RuntimeError: llama.cpp refuses the model or the port; its reason is on standard error.
    """
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    answer = _claim_stdout()
    # The OpenMP runtime spins while it waits and reads these when the library is loaded: two
    # threads on two busy cores fall from 80 to 2 tokens per second without them.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["GOMP_SPINCOUNT"] = "0"
    llama = import_module("xllamacpp")
    server = llama.Server(_parameters(llama, options))  # once the model is loaded and the port open
    line = json.dumps({"base_url": f"{server.listening_address}/v1"})
    os.write(answer, f"{line}\n".encode())
    if options.stop_on_eof:
        sys.stdin.buffer.read()
        _end()
    Event().wait()


def _parameters(llama: ModuleType, options: argparse.Namespace) -> object:
    params = llama.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias}
    params.hostnames = [_LOOPBACK]
    params.port = options.port
    params.n_ctx = options.context
    params.n_parallel = 1
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = _CACHE_MIB
    params.verbosity = _ERRORS_ONLY
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    # No web page may read answers; the defaults allow all of them, with credentials.
    params.cors_origins = ""
    params.cors_credentials = False
    return params


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.llama_server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks one")
    parser.add_argument("--context", type=int, default=8192, help="context window in tokens")
    parser.add_argument("--threads", type=int, default=default_threads(), help="for computing")
    parser.add_argument("--alias", default="local", help="the model's name in the API")
    parser.add_argument("--stop-on-eof", action="store_true", help="end with standard input")
    return parser.parse_args(arguments)


def default_threads() -> int:
    """All processors but one, which stays for the rest of the system."""
    return max(1, (os.cpu_count() or 1) - 1)


def _claim_stdout() -> int:
    """Keep standard output for the one line: whatever else writes there goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def _end(_signal: int = signal.SIGTERM, _frame: FrameType | None = None) -> NoReturn:
    # Nothing is worth saving, and an orderly end would wait for answers that nobody reads any more.
    os._exit(0)


if __name__ == "__main__":
    main()
