"""A LiteLLM to play with: users, customers, budgets, keys and a mock chat that obeys them. All in memory."""

from gateway.sandbox.litellm.app import LiteLLMSandbox
from gateway.sandbox.litellm.faults import Fault

__all__ = ["Fault", "LiteLLMSandbox"]
