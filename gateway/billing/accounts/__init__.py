"""Whose customers they are: the Stripe account, adoption, signatures, API keys, moving and forgetting users."""
