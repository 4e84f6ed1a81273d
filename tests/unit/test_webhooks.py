"""Signed deliveries: who is believed, and which delivery it is (triggers-and-actions.md §3)."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from domain.errors import DomainError
from domain.trigger_models import WebhookScheme
from domain.webhooks import (
    Verification,
    VerifyReason,
    delivery_id,
    run_workflow_suffix,
    verify,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "0123456789abcdef"
OTHER = "fedcba9876543210"
BODY = '{"action":"opened","n":7}'
KEY = "whsec_" + base64.b64encode(b"k" * 24).decode()
SCHEMES = [WebhookScheme(name) for name in ("standard", "slack", "github", "generic")]
SIGNATURE_HEADERS = {
    WebhookScheme.STANDARD: "webhook-signature",
    WebhookScheme.SLACK: "x-slack-signature",
    WebhookScheme.GITHUB: "x-hub-signature-256",
    WebhookScheme.GENERIC: "x-signature-256",
}


def mac(secret: str, text: bytes) -> bytes:
    return hmac.new(secret.encode(), text, hashlib.sha256).digest()


def sign(
    scheme: WebhookScheme, body: str | bytes = BODY, secret: str = SECRET, at: str = STAMP
) -> dict[str, str]:
    """The headers of a sender, written from the descriptions of its vendor."""
    raw = body.encode() if isinstance(body, str) else body
    if scheme == WebhookScheme.STANDARD:
        digest = mac(secret, f"msg_1.{at}.".encode() + raw)
        signature = "v1," + base64.b64encode(digest).decode()
        return {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}
    if scheme == WebhookScheme.SLACK:
        signature = "v0=" + mac(secret, f"v0:{at}:".encode() + raw).hex()
        return {"x-slack-request-timestamp": at, "x-slack-signature": signature}
    return {SIGNATURE_HEADERS[scheme]: "sha256=" + mac(secret, raw).hex()}


def accepted(scheme: str) -> Verification:
    return Verification(ok=True, scheme=scheme)


def refused(scheme: str | None, reason: VerifyReason) -> Verification:
    return Verification(ok=False, scheme=scheme, reason=reason)


class TestPublishedVectors:
    def test_github(self) -> None:
        """docs.github.com, "Validating webhook deliveries"."""
        signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}

        found = verify(["It's a Secret to Everybody"], headers, "Hello, World!", NOW)

        assert found == accepted("github")

    def test_slack(self) -> None:
        """docs.slack.dev, "Verifying requests from Slack"."""
        body = (
            "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
            "&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
            "&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
            "%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
            "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        )
        headers = {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": (
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
            ),
        }
        at = datetime.fromtimestamp(1531420618, UTC)

        found = verify(["8f742231b10e8888abcd99yyyzzz85a5"], headers, body, at)

        assert found == accepted("slack")

    def test_standard(self) -> None:
        """github.com/standard-webhooks, the vector of its libraries' tests."""
        headers = {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }
        at = datetime.fromtimestamp(1614265330, UTC)

        found = verify(
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], headers, '{"test": 2432232314}', at
        )

        assert found == accepted("standard")


class TestStandardWebhooks:
    @given(
        key=st.binary(min_size=24, max_size=64),
        body=st.text(st.characters(codec="utf-8")),
        message=st.text("abc_0", min_size=1),
    )
    def test_what_the_reference_library_signs_is_accepted(
        self, key: bytes, body: str, message: str
    ) -> None:
        signature = Webhook(key).sign(message, NOW, body)
        headers = {
            "Webhook-Id": message,
            "Webhook-Timestamp": STAMP,
            "Webhook-Signature": signature,
        }
        secret = "whsec_" + base64.b64encode(key).decode()

        assert verify([secret], headers, body, NOW) == accepted("standard")
        assert verify([secret.rstrip("=")], headers, body, NOW) == accepted("standard")
        assert not verify([secret], headers, body + " ", NOW).ok

    def test_any_of_several_signatures_may_fit(self) -> None:
        good = sign(WebhookScheme.STANDARD)
        right = good["webhook-signature"]
        for line in (
            f"v1,AAAA {right}",
            f"{right} v2,AAAA",
            f"v1a,x  {right}",
            f"v1,{'='} v1 ,, {right}",
        ):
            assert verify([SECRET], {**good, "webhook-signature": line}, BODY, NOW).ok, line

    @pytest.mark.parametrize("change", ["v2{}", "{}=", "V1{}", "v1 {}", "v1,{}"])
    def test_other_spellings_do_not_fit(self, change: str) -> None:
        good = sign(WebhookScheme.STANDARD)
        wrong = change.format(good["webhook-signature"].removeprefix("v1"))
        if change == "{}=":
            wrong = good["webhook-signature"] + "="

        found = verify([SECRET], {**good, "webhook-signature": wrong}, BODY, NOW)

        assert found == refused("standard", VerifyReason.BAD_SIGNATURE)

    @pytest.mark.parametrize("secret", ["whsec_", "whsec_!!!!", "whsec_ä", "whsec_A"])
    def test_a_key_that_is_not_base64_signs_nothing(self, secret: str) -> None:
        for key in (secret, secret.removeprefix("whsec_")):
            headers = sign(WebhookScheme.STANDARD, secret=key)
            found = verify([secret], headers, BODY, NOW)
            assert found == refused("standard", VerifyReason.BAD_SIGNATURE)

    @pytest.mark.parametrize("scheme", SCHEMES[1:])
    def test_other_schemes_take_such_a_key_as_its_text(self, scheme: WebhookScheme) -> None:
        assert verify([KEY], sign(scheme, secret=KEY), BODY, NOW) == accepted(scheme)


class TestEveryScheme:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @given(body=st.binary(), upper=st.booleans())
    def test_the_right_signature_is_accepted(
        self, scheme: WebhookScheme, body: bytes, upper: bool
    ) -> None:
        headers = sign(scheme, body)
        given = {name.upper() if upper else name.title(): item for name, item in headers.items()}

        for wanted in (scheme, WebhookScheme.AUTO):
            assert verify([SECRET], given, body, NOW, wanted) == accepted(scheme)

    @pytest.mark.parametrize("scheme", SCHEMES)
    @given(data=st.data(), body=st.binary(min_size=1))
    def test_one_changed_bit_is_refused(
        self, scheme: WebhookScheme, data: st.DataObject, body: bytes
    ) -> None:
        headers = sign(scheme, body)
        bit = data.draw(st.integers(0, len(body) * 8 - 1))
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8

        found = verify([SECRET], headers, bytes(changed), NOW)

        assert found == refused(scheme, VerifyReason.BAD_SIGNATURE)

    @pytest.mark.parametrize("scheme", SCHEMES)
    @given(text=st.text(max_size=80))
    def test_no_other_header_text_is_accepted(self, scheme: WebhookScheme, text: str) -> None:
        headers = {**sign(scheme), SIGNATURE_HEADERS[scheme]: text}

        found = verify([SECRET], headers, BODY, NOW)

        assert found == refused(scheme, VerifyReason.BAD_SIGNATURE)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_any_of_several_secrets_may_fit(self, scheme: WebhookScheme) -> None:
        headers = sign(scheme)

        assert verify([OTHER, " ", SECRET], headers, BODY, NOW) == accepted(scheme)
        wrong = refused(scheme, VerifyReason.BAD_SIGNATURE)
        assert verify([OTHER, SECRET + "\n"], headers, BODY, NOW) == wrong

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_header_sent_twice_fits_no_more(self, scheme: WebhookScheme) -> None:
        headers = sign(scheme)
        twice = {SIGNATURE_HEADERS[scheme].upper(): "v1,x", **headers}
        del twice[SIGNATURE_HEADERS[scheme]]
        twice[SIGNATURE_HEADERS[scheme]] = headers[SIGNATURE_HEADERS[scheme]]

        found = verify([SECRET], twice, BODY, NOW)

        # The blank-separated list of `standard` survives being joined, as RFC 9110 has it.
        assert found.ok is (scheme == WebhookScheme.STANDARD)

    @pytest.mark.parametrize("scheme", SCHEMES[1:])
    def test_hex_is_read_in_any_case_and_prefixes_are_not(self, scheme: WebhookScheme) -> None:
        name = SIGNATURE_HEADERS[scheme]
        headers = sign(scheme)
        prefix, _, digits = headers[name].partition("=")

        assert verify([SECRET], {**headers, name: f" {prefix}={digits.upper()} "}, BODY, NOW).ok
        for wrong in (
            f"{prefix.upper()}={digits}",
            digits,
            f"sha1={digits}",
            f"{prefix}={digits}0",
        ):
            found = verify([SECRET], {**headers, name: wrong}, BODY, NOW)
            assert found == refused(scheme, VerifyReason.BAD_SIGNATURE), wrong

    def test_text_and_its_bytes_are_the_same_body(self) -> None:
        body = "grüße \ud800"
        raw = body.encode("utf-8", "surrogatepass")
        headers = sign(WebhookScheme.GITHUB, raw)

        assert verify([SECRET], headers, body, NOW).ok
        assert verify([SECRET], headers, raw, NOW).ok


class TestTime:
    @pytest.mark.parametrize("scheme", SCHEMES[:2])
    @pytest.mark.parametrize("away", [-300, 0, 300])
    def test_five_minutes_either_way_are_near_enough(
        self, scheme: WebhookScheme, away: int
    ) -> None:
        headers = sign(scheme, at=str(int(STAMP) + away))

        assert verify([SECRET], headers, BODY, NOW) == accepted(scheme)

    @pytest.mark.parametrize("scheme", SCHEMES[:2])
    @pytest.mark.parametrize("at", [str(int(STAMP) - 301), str(int(STAMP) + 301), "-1", "9" * 5000])
    def test_what_is_further_away_is_stale(self, scheme: WebhookScheme, at: str) -> None:
        found = verify([SECRET], sign(scheme, at=at), BODY, NOW)

        assert found == refused(scheme, VerifyReason.STALE_TIMESTAMP)

    def test_the_tolerance_is_the_callers(self) -> None:
        late = NOW + timedelta(seconds=0.5)

        assert verify([SECRET], sign(WebhookScheme.SLACK), BODY, NOW, tolerance_seconds=0).ok
        assert not verify([SECRET], sign(WebhookScheme.SLACK), BODY, late, tolerance_seconds=0).ok

    @pytest.mark.parametrize("scheme", SCHEMES[:2])
    @pytest.mark.parametrize("at", ["now", "1.5", "1e9", "+5", "1_0", "0x5", "١٢", f"{STAMP}, 5"])
    def test_only_whole_seconds_are_a_time(self, scheme: WebhookScheme, at: str) -> None:
        found = verify([SECRET], sign(scheme, at=at), BODY, NOW)

        assert found == refused(scheme, VerifyReason.BAD_TIMESTAMP)

    @pytest.mark.parametrize("scheme", SCHEMES[:2])
    @pytest.mark.parametrize("blank", [True, False])
    def test_what_is_signed_has_to_be_there(self, scheme: WebhookScheme, blank: bool) -> None:
        for name in set(sign(scheme)) - {SIGNATURE_HEADERS[scheme]}:
            headers = sign(scheme, at="not a time")
            if blank:
                headers[name] = " "
            else:
                del headers[name]
            found = verify([SECRET], headers, BODY, NOW)
            assert found == refused(scheme, VerifyReason.INCOMPLETE_HEADERS)

    def test_the_time_is_judged_before_the_signature(self) -> None:
        found = verify([OTHER], sign(WebhookScheme.SLACK, at="1"), BODY, NOW)

        assert found == refused("slack", VerifyReason.STALE_TIMESTAMP)


class TestWhichScheme:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("signature", ["", "nonsense"])
    def test_a_failing_scheme_never_falls_back(self, scheme: WebhookScheme, signature: str) -> None:
        headers: dict[str, str] = {}
        for later in SCHEMES[SCHEMES.index(scheme) + 1 :]:
            headers |= sign(later)
        headers |= {**sign(scheme), SIGNATURE_HEADERS[scheme]: signature}

        found = verify([SECRET], headers, BODY, NOW)

        assert found == refused(scheme, VerifyReason.BAD_SIGNATURE)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_scheme_that_was_set_looks_at_no_other(self, scheme: WebhookScheme) -> None:
        headers: dict[str, str] = {}
        for other in SCHEMES:
            headers |= sign(other) if other != scheme else {}

        found = verify([SECRET], headers, BODY, NOW, scheme)

        assert found == refused(scheme, VerifyReason.MISSING_SIGNATURE)

    def test_without_a_signature_no_scheme_is_recognised(self) -> None:
        headers = {"authorization": f"Bearer {SECRET}", "x-hub-signature": "sha1=00"}

        found = verify([SECRET], headers, BODY, NOW)

        assert found == refused(None, VerifyReason.MISSING_SIGNATURE)

    def test_an_unknown_scheme_is_an_error(self) -> None:
        with pytest.raises(DomainError, match="standard, slack, github, generic") as caught:
            verify([SECRET], {}, BODY, NOW, cast("WebhookScheme", "sha1"))

        assert caught.value.field == "scheme"


class TestWithoutASecret:
    @pytest.mark.parametrize("secrets", [[], [" ", ""]])
    def test_nothing_is_believed_unless_allowed(self, secrets: list[str]) -> None:
        headers = sign(WebhookScheme.GITHUB, secret="")

        assert verify(secrets, headers, BODY, NOW) == refused(None, VerifyReason.NO_SECRET)
        found = verify(secrets, headers, BODY, NOW, allow_unsigned=True)
        assert found == accepted("unsigned")

    def test_the_permission_does_not_weaken_a_secret(self) -> None:
        found = verify([SECRET], {}, BODY, NOW, allow_unsigned=True)

        assert found == refused(None, VerifyReason.MISSING_SIGNATURE)


class TestDeliveryId:
    @pytest.mark.parametrize(
        ("headers", "source", "found"),
        [
            ({"Webhook-Id": "a", "X-GitHub-Delivery": "b"}, "webhook-id", "a"),
            ({"webhook-id": " ", "X-GITHUB-DELIVERY": "b"}, "x-github-delivery", "b"),
            ({"idempotency-key": " i "}, "idempotency-key", "i"),
            ({"idempotency-key": "k" * 255}, "idempotency-key", "k" * 255),
            ({"webhook-id": "w" * 256, "idempotency-key": "i"}, "idempotency-key", "i"),
        ],
    )
    def test_the_first_header_that_has_one(
        self, headers: dict[str, str], source: str, found: str
    ) -> None:
        delivery = delivery_id("h", headers, "{}")

        assert (delivery.source, delivery.delivery_id) == (source, found)
        assert delivery.body_sha256 == hashlib.sha256(b"{}").hexdigest()

    @pytest.mark.parametrize("headers", [{}, {"webhook-id": ""}, {"idempotency-key": "k" * 256}])
    def test_without_one_it_is_derived_from_path_and_body(self, headers: dict[str, str]) -> None:
        delivery = delivery_id("h", headers, b"{}")

        assert delivery.source == "body"
        assert delivery.delivery_id == "sha256:" + hashlib.sha256(b"h\n{}").hexdigest()
        assert delivery_id("i", headers, b"{}").delivery_id != delivery.delivery_id

    def test_the_suffix_is_a_short_hash_of_the_id(self) -> None:
        wanted = hashlib.sha256(b"msg_1").hexdigest()[:32]

        assert run_workflow_suffix("msg_1") == f"d-{wanted}"
