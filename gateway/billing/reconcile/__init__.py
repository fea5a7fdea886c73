"""The periodic comparison of what is stored with Stripe and LiteLLM."""
