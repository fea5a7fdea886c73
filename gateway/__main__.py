"""`python -m gateway` is `skpay`."""

from gateway.cli import main

main()
