"""A Stripe to play with: stateful, in memory, with its pages, its webhooks and its traps."""

from gateway.sandbox.stripe.account_state import API_VERSION, Settings
from gateway.sandbox.stripe.faults import Fault
from gateway.sandbox.stripe.sandbox import StripeSandbox

__all__ = ["API_VERSION", "Fault", "Settings", "StripeSandbox"]
