"""Every mark of a changed workflow stands in a recorded history, so that both ways are replayed."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

HISTORIES = Path(__file__).parent / "histories"
_MARK = re.compile(r'"(20\d\d-\d\d-\d\d-[a-z][a-z-]+)"')


def recorded(history: dict[str, Any]) -> Iterator[str]:
    """The marks that a history holds."""
    for event in history["events"]:
        marker = event.get("markerRecordedEventAttributes", {})
        if marker.get("markerName") == "core_patch":
            for payload in marker["details"]["patch-data"]["payloads"]:
                yield str(json.loads(base64.b64decode(payload["data"]))["id"])


def test_every_mark_is_recorded() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "workflows").glob("*.py")]
    wanted = {mark for source in sources for mark in _MARK.findall(source)}
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in HISTORIES.glob("*.json")]
    found = {mark for document in documents for mark in recorded(document["history"])}
    assert len(wanted) > 10
    assert wanted - found == set()
