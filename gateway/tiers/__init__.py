"""What Stripe says → Entitlement, and why: both API shapes, the status table, grace, grants. Pure."""
