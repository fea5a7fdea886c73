"""Paths on every app's host that are ours. Pure."""

from __future__ import annotations

HEADER_ECHO_PATH = "/.skpayments/arrived"
"""Where `skpay doctor` sees which headers come out of an app's chain: a router of its own with that very chain leads
to our public listener."""
