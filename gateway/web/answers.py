"""A model as the JSON answer."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel


def answer(model: BaseModel, *, status: int = 200) -> web.Response:
    """JSON under the names of the API."""
    return web.Response(text=model.model_dump_json(by_alias=True), content_type="application/json", status=status)
