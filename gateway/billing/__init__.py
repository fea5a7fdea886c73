"""The use cases: checkout, portal, receive an event, refresh a user, provision LiteLLM, grants and keys."""
