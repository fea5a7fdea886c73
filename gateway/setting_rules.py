"""What each setting must look like, and what the usual mistakes are called. Pure; no message holds a secret's value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import urlsplit

OWN_SECRET_BYTES = 32
_QUOTES = tuple("\"'`\u2018\u2019\u201c\u201d")
_BOM = "\ufeff"
# Headers and templates of Traefik's file provider carry it.
_GATE_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]+")
# Found in examples and tutorials, in any spelling; a generated secret holds none of them.
_PLACEHOLDER = re.compile(
    r"changeme|changethis|changeit|pleasechange|yoursecret|yourkey|yourtoken|secretkey|supersecret|mysecret|replaceme"
    r"|replacewith|placeholder|example|insecure|password|qwerty|xxxxxx"
)
_MIN_DISTINCT_CHARACTERS = 6
_API_KEY = re.compile(r"[sr]k_(test|live)_[A-Za-z0-9_]+")
_SIGNING_SECRET = re.compile(r"whsec_[A-Za-z0-9_+/=-]+")
_STRIPE_PREFIXES = {
    "pk_": "a publishable key (pk_…)",
    "sk_": "a secret API key (sk_…)",
    "rk_": "a restricted API key (rk_…)",
    "we_": "the id of a webhook endpoint (we_…)",
    "whsec_": "the signing secret of a webhook endpoint (whsec_…)",
    "ed_": "the id of an event destination (ed_…)",
    "acct_": "the id of an account (acct_…)",
}
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".invalid")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_SCHEMES = ("sqlite", "postgresql", "postgres")
_DRIVERS = {"sqlite+pysqlite": "sqlite", "postgresql+psycopg": "postgresql"}
_OTHER_DATABASES = {
    "mysql": "MySQL", "mariadb": "MariaDB", "mssql": "SQL Server", "oracle": "Oracle", "mongodb": "MongoDB",
    "redis": "Redis",
}  # fmt: skip
DATABASE_URLS = "sqlite:////data/skpayments.db or postgresql://user:password@host:5432/name"


def paste_problem(name: str, value: str) -> str | None:
    """What a copied line brought along: quotes, a byte order mark, the variable's own name."""
    if value.startswith(_BOM):
        return "begins with a byte order mark (BOM); save the file as UTF-8 without one"
    if _quoted(value):
        return "is in quotes, which are taken as part of it; remove them"
    if value.upper().startswith(f"{name}="):
        return f"begins with {name}=; give the value alone"
    if value.lower().startswith("bearer "):
        return 'begins with "Bearer "; give the value alone'
    return None


def _quoted(text: str) -> bool:
    return text.startswith(_QUOTES) or text.endswith(_QUOTES)


def secret_rule(name: str) -> Callable[[str], str | None]:
    """The rule for one secret of the environment: why its value cannot be right, or None."""
    return _RULES.get(name, _vendor_secret_problem)


def _own_secret_problem(value: str) -> str | None:
    """GATE_SECRET and ADMIN_TOKEN: made by the operator, and signing keys are derived from them."""
    plain = re.sub(r"[^a-z0-9]", "", value.lower())
    if _PLACEHOLDER.search(plain):
        return "is a well-known default or placeholder"
    if stripe := _stripe_value_kind(value):
        return f"is {stripe}"
    size = len(value.encode())
    if size < OWN_SECRET_BYTES:
        return f"has {size} bytes, fewer than {OWN_SECRET_BYTES}"
    if len(set(value)) < _MIN_DISTINCT_CHARACTERS or _repeats(value):
        return "repeats itself, so it can be guessed"
    return None


def _repeats(value: str) -> bool:
    """Whether it is a word of at most eight characters, again and again."""
    return any(value == (value[:size] * len(value))[: len(value)] for size in range(1, 9))


def _gate_secret_problem(value: str) -> str | None:
    if not _GATE_SECRET.fullmatch(value):
        return "may hold letters, digits and ._~+/=- only"
    return _own_secret_problem(value)


def _api_key_problem(value: str) -> str | None:
    if not value.startswith(("sk_", "rk_")):
        found = _stripe_value_kind(value) or "no Stripe key"
        return f"is {found}; it must be a secret or restricted key (sk_… or rk_…)"
    return _stripe_shape(value, _API_KEY, "sk_test_…, sk_live_…, rk_test_… or rk_live_…")


def _signing_secret_problem(value: str) -> str | None:
    if not value.startswith("whsec_"):
        found = _stripe_value_kind(value) or "no signing secret"
        return f"is {found}; it must be a signing secret (whsec_…)"
    return _stripe_shape(value, _SIGNING_SECRET, "whsec_…")


def _stripe_shape(value: str, shape: re.Pattern[str], wanted: str) -> str | None:
    if _PLACEHOLDER.search(re.sub(r"[^a-z0-9]", "", value.lower())):
        return "is a placeholder"
    if not shape.fullmatch(value):
        return f"has characters that no such value of Stripe's has (masked, or cut?); expected {wanted}"
    return None


def _vendor_secret_problem(value: str) -> str | None:
    """A secret that another program made: only what it cannot be."""
    found = _stripe_value_kind(value)
    return f"is {found}" if found else None


def _stripe_value_kind(value: str) -> str | None:
    return next((what for prefix, what in _STRIPE_PREFIXES.items() if value.startswith(prefix)), None)


_RULES: dict[str, Callable[[str], str | None]] = {
    "STRIPE_SECRET_KEY": _api_key_problem,
    "STRIPE_WEBHOOK_SECRET": _signing_secret_problem,
    "GATE_SECRET": _gate_secret_problem,
    "ADMIN_TOKEN": _own_secret_problem,
}


def url_problem(text: str) -> str | None:
    """Why `text` is no http(s) URL of a server, or None. The text is not quoted: a password may be in it."""
    if _quoted(text):
        return "is in quotes, which are taken as part of it; remove them"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "has a port that is no number from 1 to 65535, or a bracket too many"
    if parts.scheme not in ("http", "https"):
        return "begins with neither http:// nor https://"
    if not parts.hostname or any(char.isspace() for char in text):
        return "has no host name" if not parts.hostname else "has a blank in it"
    if port == 0:
        return "has port 0"
    if parts.username is not None:
        return "has a user name or password in it"
    return "has a query or fragment (? or #)" if parts.query or parts.fragment else None


def public_url_problem(text: str) -> str | None:
    """Why browsers and Stripe could not reach us at `text`, or None."""
    problem = url_problem(text)
    if problem:
        return f'{problem}; expected a URL such as "https://pay.example.com"'
    parts = urlsplit(text)
    if parts.path.strip("/"):
        return f'has the path "{parts.path[:60]}", but must be a host alone, such as "https://pay.example.com"'
    if parts.scheme == "http" and is_public(parts.hostname or ""):
        return (
            "is plain http at a public host, where payments need https; write https://, and let Traefik have the"
            " certificate"
        )
    return None


def is_public(host: str) -> bool:
    """Whether people on the Internet may reach this host: a name with a dot that is not reserved for networks of one's
    own, or a public address."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host.rstrip(".") and not host.rstrip(".").lower().endswith(_LOCAL_NAMES)


def host_problem(text: str) -> str | None:
    """Why `text` is no address to listen on, or None."""
    if "://" in text:
        return f'expected an address such as 0.0.0.0, :: or 127.0.0.1, got "{text[:60]}"; leave out the scheme'
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if text.startswith("[") or re.fullmatch(r".*:\d*", text):
            return f'expected an address without brackets and port, got "{text[:60]}"; the ports are PORT and GATE_PORT'
        if not _HOST.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
            return f'expected an address such as 0.0.0.0, :: or 127.0.0.1, got "{text[:60]}"'
    return None


def database_problem(text: str) -> str | None:
    """Why `text` names no database that we can use, or None. Only its scheme is quoted: a password may be in it."""
    if _quoted(text):
        return "is in quotes, which are taken as part of it; remove them"
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon:
        if text.startswith(("/", "./", "../")):
            return f"is a path; expected {DATABASE_URLS}"
        return f"has no scheme; expected {DATABASE_URLS}"
    if scheme not in (*_SCHEMES, *_DRIVERS):
        return _scheme_problem(scheme)
    if scheme.startswith("sqlite"):
        if rest and not rest.startswith("/"):
            return "has two slashes after sqlite:, expected three for a relative path, four for an absolute one"
        return None
    return _server_problem(rest)


def _scheme_problem(scheme: str) -> str:
    name, _, driver = scheme.removeprefix("jdbc:").partition("+")
    known = _DRIVERS.get(name, name)
    if known in _SCHEMES:
        return f'has the scheme "{scheme[:40]}"; write {known}://… alone, the driver is ours to choose'
    if name in _OTHER_DATABASES:
        return f"names a {_OTHER_DATABASES[name]} database, which is not supported; expected {DATABASE_URLS}"
    near = get_close_matches(name, _SCHEMES, n=1, cutoff=0.6)
    if near and not driver:
        return f'has the unknown scheme "{scheme[:40]}"; did you mean {near[0]}?'
    return f'has the unknown scheme "{scheme[:40]}"; expected {DATABASE_URLS}'


def _server_problem(rest: str) -> str | None:
    """`user:password@host:port/name?options`; a raw @ or / in the password would be read as the end of it."""
    authority, _, path = rest.partition("/")
    credentials, at, server = authority.rpartition("@")
    if "@" in path.partition("?")[0] or (at and "@" in credentials):
        return "has an @ or / in its password; write %40 for @ and %2F for /"
    port = re.fullmatch(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?", server)
    if port is None or (port["port"] is not None and not _is_port(port["port"])):
        return "has a port that is no number from 1 to 65535"
    return None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) <= 65535
