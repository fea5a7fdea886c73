"""Which ids may name a person in LiteLLM (T2: reserved ids are refused)."""

from __future__ import annotations

import pytest

from gateway.errors import InvalidInput
from gateway.litellm import check_litellm_id


@pytest.mark.parametrize(
    "litellm_id",
    [
        "u-alice",
        "0b7a4a0e-5b0c-4c6f-8a53-9d6f4c1f1e01",
        "a@b.example",
        "名前",
        "x" * 255,
        "default_user_id2",
        "litellm",
    ],
)
def test_a_persons_id_passes(litellm_id: str) -> None:
    check_litellm_id(litellm_id)


@pytest.mark.parametrize(
    ("litellm_id", "code"),
    [
        ("", "litellm_id_empty"),
        ("  ", "litellm_id_empty"),
        ("default_user_id", "litellm_id_reserved"),
        ("Default_User_ID ", "litellm_id_reserved"),
        ("litellm-proxy-budget", "litellm_id_reserved"),
        ("litellm-proxy-", "litellm_id_reserved"),
        ("litellm_proxy_master_key", "litellm_id_reserved"),
        ("litellm-internal-health-check", "litellm_id_reserved"),
        ("litellm-cli", "litellm_id_reserved"),
        ("litellm_internal_jobs", "litellm_id_reserved"),
        ("litellm-dashboard", "litellm_id_reserved"),
        ("skpay-doctor-skai", "litellm_id_reserved"),
        (" SKPAY-Doctor-", "litellm_id_reserved"),
        ("a\r\nb", "litellm_id_malformed"),
        ("a\x00", "litellm_id_malformed"),
        ("x" * 256, "litellm_id_malformed"),
    ],
)
def test_t2_an_id_of_litellms_own_or_a_malformed_one_is_refused(litellm_id: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_litellm_id(litellm_id)
    assert caught.value.code == code
