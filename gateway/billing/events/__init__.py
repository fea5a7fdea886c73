"""Events from Stripe: received, recorded, routed to the user they concern, and listed at Stripe when missed."""
