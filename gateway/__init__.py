"""SKPayments: Stripe subscriptions as tiers for self-hosted apps."""

__version__ = "0.1.0"
