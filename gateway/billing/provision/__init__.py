"""Limits in LiteLLM: provisioning jobs, first-seen users, the check that limits are enforced."""
