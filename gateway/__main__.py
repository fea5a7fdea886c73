"""`python -m gateway` is `skpay`."""

import gc

# What is imported lives as long as the process: to look through it again and again is a sixth of a start.
gc.disable()

from gateway.cli import main  # noqa: E402  # the collector is off first

gc.freeze()
gc.enable()
main()
