"""LiteLLM's error answers in their two shapes, as recorded from 1.106.2."""

from __future__ import annotations


class Refusal(Exception):
    """An answer that is not 2xx: a status and the JSON that comes with it."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def proxy_error(status: int, message: str, kind: str, param: str | None = None) -> Refusal:
    """The proxy's own shape; it repeats the status as text."""
    return Refusal(status, {"error": {"message": message, "type": kind, "param": param, "code": str(status)}})


def detail(status: int, value: object) -> Refusal:
    """FastAPI's shape."""
    return Refusal(status, {"detail": value})


def invalid(kind: str, loc: list[str | int], message: str) -> Refusal:
    """A body that FastAPI's validation stops: 422 with a list of one."""
    return detail(422, [{"type": kind, "loc": loc, "msg": message}])


def database_down(path: str) -> Refusal:
    """The answer during an outage of LiteLLM's database: 400 on /user/update, 500 elsewhere (1.106.2)."""
    message = "Authentication Error, Can't reach database server at `127.0.0.1`:`5432`"
    if path == "/user/update":
        return proxy_error(400, message, "auth_error", "None")
    return proxy_error(500, message, "internal_server_error")
