"""The ids that a user may have at LiteLLM. Pure."""

from __future__ import annotations

from gateway.errors import InvalidInput
from gateway.user_ids import is_id

_MAX_ID_LENGTH = 255
# LiteLLM's own rows and accounts (1.106.2, litellm/constants.py). A limit written on one of these is the proxy's own:
# `default_user_id` is the owner of the master key, `litellm-proxy-budget` the budget of the whole proxy.
_RESERVED = frozenset(
    {"default_user_id", "litellm-cli", "litellm-internal-health-check", "litellm_internal_jobs", "litellm-dashboard"}
)
PROBE_ID_PREFIX = "skpay-doctor-"
"""Ids of doctor's users: every call of theirs must be refused, which proves that LiteLLM enforces limits."""
_RESERVED_PREFIXES = ("litellm-proxy-", "litellm_proxy_")


def check_litellm_id(litellm_id: str) -> None:
    """Raise `InvalidInput` unless this id can be a person's: 1 to 255 printable characters, not reserved.

    Reserved ids are compared without regard to case and outer blanks, since some front end may drop either.
    """
    plain = litellm_id.strip().lower()
    if not plain:
        raise InvalidInput("A LiteLLM user id must not be empty.", code="litellm_id_empty")
    if not is_id(litellm_id, _MAX_ID_LENGTH):
        raise InvalidInput(
            f"A LiteLLM user id must be 1 to {_MAX_ID_LENGTH} printable characters.", code="litellm_id_malformed"
        )
    if plain in _RESERVED or plain.startswith(_RESERVED_PREFIXES):
        raise InvalidInput("This user id is one of LiteLLM's own.", code="litellm_id_reserved", detail=litellm_id)
    if plain.startswith(PROBE_ID_PREFIX):
        raise InvalidInput("This user id is one of doctor's.", code="litellm_id_reserved", detail=litellm_id)
