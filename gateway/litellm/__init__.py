"""LiteLLM's admin API over raw HTTP: internal users, customers and the budgets they share. No rule about tiers."""

from gateway.litellm.client import LiteLLM
from gateway.litellm.enforcement import EnforcementProof, probe_id
from gateway.litellm.ids import check_litellm_id
from gateway.litellm.keys import KeyHolder
from gateway.litellm.limit_fields import LimitsComparison, Provisioned, enforceable_limits

__all__ = [
    "EnforcementProof",
    "KeyHolder",
    "LimitsComparison",
    "LiteLLM",
    "Provisioned",
    "check_litellm_id",
    "enforceable_limits",
    "probe_id",
]
