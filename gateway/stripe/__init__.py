"""Stripe's API over raw HTTPS, with typed values: resources, retries, errors, webhooks. No rule about tiers."""
