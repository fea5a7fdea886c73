"""Webhook signatures: a table by hand, and the official library as an oracle. Where we are stricter, it says so."""

import hashlib
import hmac

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadSignature
from gateway.settings import Secret
from gateway.stripe.signature import verify

NOW = 1_800_000_000
SECRET = "whsec_" + "a1" * 16
BODY = b'{"id": "evt_1"}'


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


GOOD = signed()
ACCEPTED = {
    "plain": f"t={NOW},v1={GOOD}",
    "a fake v0 beside it": f"t={NOW},v1={GOOD},v0={'0' * 64}",
    "two v1 while a secret is rolled, ours second": f"t={NOW},v1={'0' * 64},v1={GOOD}",
    "v1 first": f"v1={GOOD},t={NOW}",
    "exactly 300 s old": f"t={NOW - 300},v1={signed(at=NOW - 300)}",
}
REFUSED = {
    "no header": "",
    "no t": f"v1={GOOD}",
    "no v1": f"t={NOW}",
    "v0 only": f"t={NOW},v0={GOOD}",
    "another secret": f"t={NOW},v1={signed(secret='whsec_other_secret_of_some_length')}",
    "the secret without whsec_ (what one emulator teaches)": f"t={NOW},v1={signed(secret=SECRET[6:])}",
    "301 s old": f"t={NOW - 301},v1={signed(at=NOW - 301)}",
    "t is not a number": f"t=abc,v1={GOOD}",
    "upper-case hex": f"t={NOW},v1={GOOD.upper()}",
    "a space after the comma": f"t={NOW}, v1={GOOD}",
    "a signature cut short": f"t={NOW},v1={GOOD[:-2]}",
    "not ASCII": f"t={NOW},v1={'é' * 64}",
}
STRICTER_THAN_THE_LIBRARY = {
    "Arabic digits": f"t={''.join(chr(0x660 + int(d)) for d in str(NOW))},v1={GOOD}",
    "huge": f"t={NOW},v1={GOOD}" + ",v1=" + "0" * 5000,
    "an hour in the future": f"t={NOW + 3600},v1={signed(at=NOW + 3600)}",
    "two t": f"t={NOW},t={NOW - 9999},v1={GOOD}",
    "t with a plus": f"t=+{NOW},v1={GOOD}",
    "t with underscores": f"t={NOW // 1_000_000_000}_{NOW % 1_000_000_000:09d},v1={GOOD}",
}


def library_accepts(header: str, body: bytes = BODY, now: int = NOW) -> bool:
    from unittest import mock

    with mock.patch("stripe._webhook.time.time", return_value=now):
        try:
            return bool(stripe.WebhookSignature.verify_header(body.decode(), header, SECRET, 300))
        except stripe.SignatureVerificationError:
            return False


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_stripe_signs_is_accepted(name: str) -> None:
    verify(BODY, ACCEPTED[name], [Secret(SECRET)], NOW)
    assert library_accepts(ACCEPTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_stripe_did_not_sign_is_refused_without_a_crash(name: str) -> None:
    with pytest.raises(BadSignature):
        verify(BODY, REFUSED[name], [Secret(SECRET)], NOW)
    if name != "not ASCII":  # the library raises a TypeError here
        assert not library_accepts(REFUSED[name])


@pytest.mark.parametrize("name", STRICTER_THAN_THE_LIBRARY)
def test_we_refuse_what_the_library_lets_pass(name: str) -> None:
    assert library_accepts(STRICTER_THAN_THE_LIBRARY[name])
    with pytest.raises(BadSignature):
        verify(BODY, STRICTER_THAN_THE_LIBRARY[name], [Secret(SECRET)], NOW)


def test_any_configured_secret_will_do_while_one_is_rolled() -> None:
    header = f"t={NOW},v1={GOOD}"
    verify(BODY, header, [Secret("whsec_new_new_new"), Secret(SECRET)], NOW)
    with pytest.raises(BadSignature):
        verify(BODY, header, [Secret("whsec_new_new_new")], NOW)


def test_a_body_that_is_not_utf_8_is_refused_not_crashed_on() -> None:
    with pytest.raises(BadSignature):
        verify(b"\xff\xfe", f"t={NOW},v1={GOOD}", [Secret(SECRET)], NOW)


def test_stale_and_forged_signatures_have_different_codes() -> None:
    with pytest.raises(BadSignature) as caught:
        verify(BODY, f"t={NOW - 900},v1={signed(at=NOW - 900)}", [Secret(SECRET)], NOW)
    assert caught.value.code == "stale_signature"
    assert caught.value.fields == {"skew_seconds": 900}


@given(st.text())
def test_no_header_whatever_crashes_or_passes(header: str) -> None:
    with pytest.raises(BadSignature):
        verify(BODY, header, [Secret(SECRET)], NOW)


@given(st.binary(max_size=64), st.integers(min_value=-300, max_value=300))
def test_every_body_signed_in_time_is_accepted(body: bytes, age: int) -> None:
    verify(body, f"t={NOW - age},v1={signed(body, at=NOW - age)}", [Secret(SECRET)], NOW)
