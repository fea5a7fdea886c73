"""Ownership of customers: the Stripe account, adoption, signatures, API keys, moving and forgetting users."""
