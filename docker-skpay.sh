#!/bin/sh
# `skpay` in the image of Dockerfile, where our package is not installed.
exec python -m gateway "$@"
