"""Stripe over raw HTTPS: form encoding, calls, retries, webhook signatures. No rule about tiers."""
