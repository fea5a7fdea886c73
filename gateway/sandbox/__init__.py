"""A Stripe, a LiteLLM and a Cloudflare to play with. Imports nothing of ours but errors and log."""
