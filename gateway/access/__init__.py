"""Who is asking, what is their tier, may they. Pure."""
