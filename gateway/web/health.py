"""Is it alive, is it ready, what does it offer."""

from __future__ import annotations

from aiohttp import web

from gateway.web.answers import answer
from gateway.web.auth import is_operator
from gateway.web.context import SITE
from gateway.web.models import HealthAnswer, ReadyAnswer


async def health(request: web.Request) -> web.Response:
    """Alive. In the words that the Open WebUI image's own HEALTHCHECK waits for."""
    return answer(HealthAnswer(status=True))


async def ready(request: web.Request) -> web.Response:
    """200, or 503 while something is not well; what it is, only for the operator."""
    problems = request.app[SITE].readiness()
    shown = problems if is_operator(request) else None
    return answer(ReadyAnswer(ready=not problems, problems=shown), status=503 if problems else 200)
