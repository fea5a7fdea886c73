"""Where a user returns after the page of plans: only pages of the app itself. Pure."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from gateway.access.policy import UPGRADE_PATH
from gateway.catalog.model import App

MAX_BYTES = 1024
"""A longer URL is not kept: the signed link that contains it must fit into a request line."""
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def app_origin(app: App, host: str, public_url: str) -> str:
    """Scheme, host and port at which browsers reach this host of the app.

    Traefik sends the gate neither scheme nor port, so they are taken from the app's own `urls`, else from PUBLIC_URL.
    """
    named = [urlsplit(url) for url in (app.cancel_url, app.success_url, app.sign_in_url or "")]
    own = [parts for parts in named if parts.hostname in app.hosts]
    like = next((parts for parts in own if parts.hostname == host), None) or next(iter(own), urlsplit(public_url))
    return f"{like.scheme}://{host}" + ("" if like.port is None else f":{like.port}")


def return_url(app: App, host: str, uri: str | bytes, public_url: str) -> str:
    """The URL of a request to this host, percent-encoded; "" if it is too long or `uri` is no path."""
    path = quote(uri, safe=_SAFE)
    url = app_origin(app, host, public_url) + path
    return url if path.startswith("/") and len(url) <= MAX_BYTES else ""


def is_page_of(app: App, url: str) -> bool:
    """Whether the URL leads a browser to the app."""
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return False
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and "@" not in parts.netloc and parts.hostname in app.hosts


def back_path(uri: bytes) -> str:
    """The path and query in the one `back` parameter of a request to the upgrade page; "" if there is none."""
    query = uri.partition(b"?")[2]
    if not query.startswith(b"back=") or len(query) > MAX_BYTES or b"&" in query:
        return ""
    path = unquote(query[5:].decode("latin-1"))
    return path if path.startswith("/") else ""


def upgrade_url(app: App, public_url: str, back_to: str = "") -> str:
    """Where a user who is signed in at the app gets a new link; it leads back to `back_to`, a page of the app."""
    if not is_page_of(app, back_to):
        return app_origin(app, app.hosts[0], public_url) + UPGRADE_PATH.rstrip("/")
    parts = urlsplit(back_to)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"{app_origin(app, parts.hostname or '', public_url)}{UPGRADE_PATH.rstrip('/')}?back={quote(path, safe='/')}"
