"""Liveness and readiness."""

from __future__ import annotations

from aiohttp import web

from gateway.web.answers import answer
from gateway.web.auth import is_operator
from gateway.web.context import SITE
from gateway.web.models import HealthAnswer, ReadyAnswer


async def health(request: web.Request) -> web.Response:
    """Liveness, in the form that the Open WebUI image's own HEALTHCHECK expects."""
    return answer(HealthAnswer(status=True))


async def ready(request: web.Request) -> web.Response:
    """200, or 503 while there is a problem; the problems are listed for the operator only."""
    problems = request.app[SITE].readiness()
    shown = problems if is_operator(request) else None
    return answer(ReadyAnswer(ready=not problems, problems=shown), status=503 if problems else 200)
