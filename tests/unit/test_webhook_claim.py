"""What a routine publishes of its webhook, and what a prompt shows of a delivery."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.gateway.buckets import Buckets
from client.gateway.problems import TooManyRequests
from client.gateway.webhooks import joined_headers
from domain.guardrails import content_hash
from domain.trigger_models import (
    EnvSecret,
    ManualTrigger,
    SealedSecret,
    Secret,
    WebhookScheme,
    WebhookTrigger,
)
from domain.webhook_body import MAX_BYTES, body_hash, delivery_text
from domain.webhook_claim import WebhookClaim, secrets_of, stronger, webhook_claim

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
AT = int(NOW.timestamp() * 1000)
SEALED = SealedSecret(sealed="v1.00000000." + "x" * 60)


def claimed(
    now: datetime = NOW, former: WebhookClaim | None = None, **trigger: Any
) -> WebhookClaim:
    found = webhook_claim("mine", WebhookTrigger(**trigger), now, former)
    assert found is not None
    return found


def test_a_claim_and_its_memo() -> None:
    secret = [SEALED, EnvSecret(env="A")]
    claim = claimed(path="p", secret=secret, scheme=WebhookScheme.SLACK, allow_unsigned=True)
    assert claim == WebhookClaim(
        path="p", at=AT, scheme=WebhookScheme.SLACK, unsigned=True, secrets=secret
    )
    assert WebhookClaim.model_validate(claim.memo) == claim
    assert claimed().memo == {"path": "mine", "at": AT}
    assert webhook_claim("mine", ManualTrigger(), NOW) is None


def test_a_path_stays_claimed_since_then() -> None:
    first, later = claimed(path="p"), NOW + timedelta(days=1)
    assert claimed(later, first, path="p", secret=SEALED).at == AT
    assert claimed(later, first).at == AT + 86_400_000


def test_long_secrets_and_literals_are_not_in_the_memo() -> None:
    long: list[Secret] = [SealedSecret(sealed="x" * 250)]
    for secret in (long, "a literal that came past us"):
        memo = claimed(secret=secret).memo
        assert memo["secrets"] is None
        assert "literal" not in str(memo)
        assert len(json.dumps(memo)) < 300
        assert WebhookClaim.model_validate(memo).secrets is None


def test_the_secrets_of_a_trigger() -> None:
    assert secrets_of(WebhookTrigger()) == []
    assert secrets_of(WebhookTrigger(secret=SEALED)) == [SEALED]
    assert secrets_of(WebhookTrigger(secret=[SEALED, SEALED])) == [SEALED, SEALED]


def test_the_oldest_claim_counts() -> None:
    early, late = WebhookClaim(path="p", at=1), WebhookClaim(path="p", at=2)
    assert stronger(early, "b", late, "a")
    assert not stronger(late, "a", early, "b")
    assert stronger(early, "a", early, "b")
    assert not stronger(early, "b", early, "a")


# The prompt


def shown(body: bytes, **headers: str) -> str:
    return delivery_text(headers, "id-1", body).text


def test_json_is_indented_and_text_stays() -> None:
    headers = {"content-type": "application/json", "x-github-event": "push\r\n x", "cookie": "c"}
    found = delivery_text(headers, "id\n-1", b'{"a":[1,"\xc3\xa4"]}')
    assert found.source == "webhook delivery"
    assert found.text == (
        "delivery id: id -1\ncontent-type: application/json\nx-github-event: push x\n\n"
        '{\n  "a": [\n    1,\n    "ä"\n  ]\n}'
    )
    assert shown(b"[1.5]").endswith("[\n  1.5\n]")
    assert shown(b"plain") == "delivery id: id-1\n\nplain"
    assert shown(b"") == "delivery id: id-1\n\n"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b"[NaN]",
        b"[1e999]",
        b'["\\ud800"]',
        b"[" * 100 + b"]" * 100,
        b"[" * 5_000,
        b"1" * 5_000,
    ],
)
def test_json_that_readers_could_disagree_on_is_shown_as_it_is(body: bytes) -> None:
    assert shown(body).endswith("\n\n" + body.decode())
    assert body_hash(body) == content_hash(body.decode())


def test_what_is_no_text_is_told_by_size_and_digest() -> None:
    body = b"\xff\x00"
    digest = hashlib.sha256(body).hexdigest()
    assert shown(body).endswith(f"[2 bytes that are no text, sha256 {digest}]")
    assert body_hash(body) == content_hash(digest)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=8), st.booleans())
def test_it_is_cut_at_a_character_and_says_so(unit: str, as_json: bool) -> None:
    text = unit * 70_000
    body = (json.dumps([text]) if as_json else "x" + text).encode()
    found = shown(body)
    assert MAX_BYTES - 4 <= len(found.encode()) <= MAX_BYTES
    assert found.endswith(f"\n[cut: the body has {len(body)} bytes]")


def test_a_small_body_that_grows_by_indenting_is_cut_soon() -> None:
    body = ("[" * 60 + ",".join(["1"] * 200_000) + "]" * 60).encode()
    assert len(shown(body).encode()) <= MAX_BYTES


def test_equal_json_has_equal_hashes() -> None:
    assert body_hash(b'{"a": 1, "b": {"c": null}}') == body_hash(b'{"b":{"c":null},"a":1}')
    assert body_hash(b'{"a": 1}') != body_hash(b'{"a": 2}')


# The gateway's parts


def test_headers_that_come_twice_are_joined() -> None:
    raw = [(b"X-A", b" 1 "), (b"x-a", b"2"), (b"B", b"\xe4")]
    assert joined_headers(raw) == {"x-a": "1, 2", "b": "ä"}


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    now = 0.0
    buckets = Buckets(60, lambda: now)
    for _ in range(60):
        buckets.take("a")
    with pytest.raises(TooManyRequests) as refused:
        buckets.take("a")
    assert refused.value.retry_after == 1
    buckets.take("b")
    now = 2.0
    buckets.take("a")
    buckets.take("a")
    with pytest.raises(TooManyRequests):
        buckets.take("a")
    slow = Buckets(1, lambda: now)
    slow.take("a")
    with pytest.raises(TooManyRequests) as refused:
        slow.take("a")
    assert refused.value.retry_after == 60
