"""A small app for the demo: sign in by name, see your user id and the headers that the gate added.

Its sign-in cookie has the format of Open WebUI 0.12.4's, so that it can replace one. It prints the headers that the
gate wrote and does not check them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from html import escape

from aiohttp import web

COOKIE = "token"
_FOUR_WEEKS = 2419200
_UPGRADE, _PAID = "/.skpayments/upgrade", "/reports"
_TAG = "x-sk-"
_NAME = re.compile(r"[\w .@'-]{1,64}")
_USERS = uuid.UUID("5d6f0c1e-3a52-4d0e-9a37-64a4f3d1c0aa")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.05rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 0 auto; padding: 1.5rem 1rem; }}
h1 {{ font-size: 1.5rem; margin: 0 0 1rem; }}
.tier {{ font-size: 1.3rem; font-weight: 700; overflow-wrap: anywhere; }}
nav {{ display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0; }}
a.button, button {{ font: inherit; min-height: 2.75rem; padding: .5rem 1rem; border-radius: .5rem;
  border: 1px solid #1d4ed8; background: #1d4ed8; color: #fff; text-decoration: none; cursor: pointer;
  display: inline-flex; align-items: center; box-sizing: border-box; }}
.plain {{ background: transparent !important; color: inherit !important; border-color: currentColor !important; }}
a:focus-visible, button:focus-visible, input:focus-visible {{ outline: 3px solid #f59e0b; outline-offset: 2px; }}
input {{ font: inherit; min-height: 2.75rem; padding: .5rem; width: 100%; box-sizing: border-box;
  margin: .25rem 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .5rem .35rem 0; border-bottom: 1px solid #8884; }}
td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
.error {{ color: #b91c1c; font-weight: 700; }}
</style></head><body><main><h1>{title}</h1>
{body}
</main></body></html>
"""
_SIGN_IN = """{problem}<form method="post" action="/sign-in">
<label for="name">Your name</label>
<input id="name" name="name" required maxlength="64" autocomplete="username" autofocus>
<button>Sign in</button></form>
<p>Any name will do; the same name is always the same person.</p>"""
_HOME = """<p>Hello, <strong>{user}</strong>. Your tier here is</p><p class="tier">{tier}</p>
<nav aria-label="What you can do"><a class="button" href="{upgrade}">Upgrade</a>
<a class="button plain" href="{paid}">A paid page</a>
<form method="post" action="/sign-out"><button class="plain">Sign out</button></form></nav>
<h2>The gate's headers</h2>{tags}"""


def session_token(secret: str, user_id: str, now: int) -> str:
    """The HS256 JWT that Open WebUI 0.12.4 keeps in the cookie `token`, for four weeks; the user is the claim `id`."""
    assignments = {
        "id": user_id,
        "typ": "session",
        "auth_method": "password",
        "auth_time": now,
        "session_stamp": str(uuid.uuid4()),
        "mfa_verified": False,
        "exp": now + _FOUR_WEEKS,
        "jti": str(uuid.uuid4()),
        "iat": now,
    }
    head = _base64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{_base64(json.dumps(assignments).encode())}"
    return f"{signed}.{_base64(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def user_id_of(name: str) -> str:
    """The same name is always the same UUID, as Open WebUI's ids are."""
    return str(uuid.uuid5(_USERS, name))


def sample_app(secret: str, name: str) -> web.Application:
    """The app: a home page, a sign-in, and an echo of any other request. `secret` signs its sessions."""
    app = web.Application()
    page = _Pages(secret, name)
    app.router.add_get("/", page.home)
    app.router.add_get("/sign-in", page.ask)
    app.router.add_post("/sign-in", page.sign_in)
    app.router.add_post("/sign-out", page.sign_out)
    app.router.add_get("/health", _health)
    app.router.add_route("*", "/{path:.*}", page.other)
    return app


class _Pages:
    def __init__(self, secret: str, name: str) -> None:
        self._secret = secret
        self._name = name
        self._names: dict[str, str] = {}

    async def home(self, request: web.Request) -> web.StreamResponse:
        """The user of the cookie, and the headers of the gate."""
        if not _wants_html(request):
            return _echo(request)
        user_id = _signed_in(request.cookies.get(COOKIE, ""), self._secret)
        if user_id is None:
            return _see_other("/sign-in")
        tier = request.headers.get("X-SK-Tier", "not known: there is no gate before this app")
        return self._page(
            _HOME.format(
                user=escape(self._names.get(user_id, user_id)),
                tier=escape(tier),
                upgrade=_UPGRADE,
                paid=_PAID,
                tags=_tags(request),
            )
        )

    async def ask(self, request: web.Request) -> web.Response:
        """The sign-in page."""
        return self._page(_SIGN_IN.format(problem=""))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Set the session cookie and go home."""
        name = str((await request.post()).get("name", "")).strip()
        if not _NAME.fullmatch(name):
            problem = '<p class="error" role="alert">Use 1 to 64 letters, digits, blanks or . @ \' - _</p>'
            return self._page(_SIGN_IN.format(problem=problem), status=400)
        response = _see_other("/")
        user_id = user_id_of(name)
        self._names[user_id] = name
        token = session_token(self._secret, user_id, int(time.time()))
        response.set_cookie(COOKIE, token, max_age=_FOUR_WEEKS, path="/", httponly=True, samesite="Lax")
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Drop the cookie."""
        response = _see_other("/sign-in")
        response.del_cookie(COOKIE, path="/")
        return response

    async def other(self, request: web.Request) -> web.StreamResponse:
        """Any other path: JSON of what arrived, or a page of it for a browser."""
        if request.path == "/echo" or not _wants_html(request):
            return _echo(request)
        title = "You are in" if request.path == _PAID else "Nothing special here"
        return self._page(
            f"<p>{escape(title)}: <code>{escape(request.path)}</code></p>{_tags(request)}"
            '<nav><a class="button" href="/">Home</a></nav>'
        )

    def _page(self, body: str, status: int = 200) -> web.Response:
        text = _PAGE.format(title=escape(self._name), body=body)
        headers = {"Cache-Control": "no-store"}
        return web.Response(text=text, status=status, content_type="text/html", headers=headers)


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": True})


def _see_other(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def _echo(request: web.Request) -> web.Response:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    answer = {"method": request.method, "path": request.path_qs, "headers": headers}
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _tags(request: web.Request) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in sorted(request.headers.items())
        if name.lower().startswith(_TAG)
    )
    return f"<table>{rows}</table>" if rows else "<p>Nothing: no X-SK- header arrived.</p>"


def _wants_html(request: web.Request) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _signed_in(token: str, secret: str) -> str | None:
    """The user id of a session that this app signed and that is not over."""
    signed, _, signature = token.rpartition(".")
    expected = _base64(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())
    if not signed or not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    payload = signed.partition(".")[2]
    assignments = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(assignments["id"]) if assignments["exp"] > time.time() else None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
