"""Our own paths on the hosts of apps. Pure."""

from __future__ import annotations

HEADER_ECHO_PATH = "/.skpayments/arrived"
"""Where `skpay doctor` reads the headers that reach an app: a separate router with the app's middlewares leads to our
public listener."""
