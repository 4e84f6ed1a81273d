"""The channel `console`: texts on the worker's standard output.

Owns how a text looks there. It keeps nothing, so it can neither look up nor ignore a repeated key.
"""

import asyncio
import threading
from typing import TextIO

from activities.channels.channel import RETRY_SECONDS, Ambiguous, Outgoing, Refused

# A model's text must not steer the terminal it is shown on.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


class ConsoleSender:
    """Writes one block per text: run and part, then the text, then an empty line."""

    deduplicates = False
    threads = False
    speaks = False
    retry_seconds = RETRY_SECONDS

    def __init__(self, stream: TextIO) -> None:
        """Take the stream; it stays its owner's.

        Args:
            stream: Where to write.
        """
        self._stream = stream
        self._turn = threading.Lock()

    async def send(self, message: Outgoing) -> str:
        """Write the text; its key is the id."""
        target = f" to {message.route.receive_id}" if message.route.receive_id else ""
        whose = f"{message.run_id} {message.part}" if message.run_id else message.part
        block = f"--- {whose}{target}\n{message.text.rstrip()}\n\n".translate(_CONTROLS)
        # A terminal or pipe that nobody reads blocks its writer.
        await asyncio.to_thread(self._write, block)
        return message.key

    def _write(self, block: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        shown = block.encode(encoding, "replace").decode(encoding)
        try:
            with self._turn:
                self._stream.write(shown)
                self._stream.flush()
        except ValueError:
            raise Refused("the console is closed") from None
        except OSError as error:
            raise Ambiguous(f"the console broke while writing ({error.strerror})") from None
