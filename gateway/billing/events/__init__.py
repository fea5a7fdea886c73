"""Events from Stripe: received, recorded, routed to the user they concern, and fetched again when missed."""
