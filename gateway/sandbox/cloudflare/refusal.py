"""Cloudflare's envelope, of answers and of refusals."""

from __future__ import annotations


class Refusal(Exception):
    """An answer that is not 200. `chain` is the cause that some errors name: (code, message)."""

    def __init__(self, status: int, code: int, message: str, chain: tuple[int, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, object] = {"code": code, "message": message}
        if chain is not None:
            self.error["error_chain"] = [{"code": chain[0], "message": chain[1]}]


def envelope(result: object) -> dict[str, object]:
    return {"success": True, "errors": [], "messages": [], "result": result}


def refused(refusal: Refusal) -> dict[str, object]:
    return {"success": False, "errors": [refusal.error], "messages": [], "result": None}
