"""Notices to app backends: signed, sent, retried."""
