"""LiteLLM's admin API over raw HTTP: internal users, customers and the budgets they share. No rule about tiers."""

from gateway.litellm.client import LiteLLM
from gateway.litellm.enforcement import Proof, probe_id
from gateway.litellm.ids import check_litellm_id
from gateway.litellm.keys import KeyHolder
from gateway.litellm.wish import Held, Provisioned, enforced

__all__ = ["Held", "KeyHolder", "LiteLLM", "Proof", "Provisioned", "check_litellm_id", "enforced", "probe_id"]
