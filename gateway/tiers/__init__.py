"""The tier decision: subscriptions, invoices, disputes and grants → Entitlement, and why. Pure."""
