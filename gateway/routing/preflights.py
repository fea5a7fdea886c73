"""Which CORS preflights we answer instead of the app: those for paths that the gate refuses to anonymous users. Pure.

Browsers send preflights without credentials, and Traefik's ForwardAuth cannot answer them: what the gate allows is
forwarded to the app, and any other status is a refusal to the browser. So they have a separate router with the same
middlewares to our public listener.
"""

from __future__ import annotations

from gateway.catalog.model import App, Route

_REQUESTED_METHOD = "Access-Control-Request-Method"


def preflight_rule(app: App) -> str:
    """Traefik's rule for them, without the host; "" if the app allows no origin or refuses no request.

    Paths, methods and origins of a catalog contain no back-tick.
    """
    if not app.cors or not app.enforce:
        return ""
    refused = [route for route in app.routes if _is_refused_to_default_tier(app, route)]
    public = [route.path for route in app.routes if route.public]
    if app.anonymous == "refuse":
        paths = [f"!({_below(path)})" for path in public]
    elif refused:
        deeper = [path for path in public if any(path.startswith(f"{route.path.rstrip('/')}/") for route in refused)]
        paths = [_any([_terms(route) for route in refused]), *(f"!({_below(path)})" for path in deeper)]
    else:
        return ""
    origins = _any([f"Header(`Origin`, `{origin}`)" for origin in app.cors])
    return " && ".join(["Method(`OPTIONS`)", f"HeaderRegexp(`{_REQUESTED_METHOD}`, `.`)", origins, *paths])


def allows_preflights_of_refused_requests(app: App) -> bool:
    """Whether a preflight, which carries no credential, passes where the request after it is refused."""
    return app.enforce and (
        app.anonymous == "refuse" or any(_is_refused_to_default_tier(app, route) for route in app.routes)
    )


def _is_refused_to_default_tier(app: App, route: Route) -> bool:
    """Whether the first tier, and so every anonymous request, is refused here."""
    lowest = app.tier(route.min_tier) if route.min_tier else None
    short = not set(route.features) <= set(app.default_tier.features)
    return not route.public and (short or (lowest is not None and lowest.rank > 0))


def _terms(route: Route) -> str:
    methods = _any([f"Header(`{_REQUESTED_METHOD}`, `{method}`)" for method in route.methods]) if route.methods else ""
    return " && ".join(filter(None, (f"({_below(route.path)})", methods)))


def _below(path: str) -> str:
    return "PathPrefix(`/`)" if path == "/" else f"Path(`{path}`) || PathPrefix(`{path}/`)"


def _any(terms: list[str]) -> str:
    return f"({' || '.join(terms)})"
