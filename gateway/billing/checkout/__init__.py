"""Selling tiers: prices, checkout sessions, the customer portal, customers at Stripe."""
