"""One user's entitlement: read from Stripe, decided, stored; grants, disputes and the status shown to apps."""
