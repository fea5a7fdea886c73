"""The rules for single values of apps.json: hosts, URLs, paths, durations, secret references. Pure.

Each `…_problem` returns a short reason, or None for a valid value. Routing repeats the checks before
it writes another program's configuration.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from urllib.parse import SplitResult, urlsplit

import idna

MAX_GRACE_SECONDS = 90 * 86400
UPGRADE_PATH = "/.skpayments"
# It fixes the known vulnerabilities of ForwardAuth, and has every option that we write.
OLDEST_TRAEFIK = "3.7.13"
# The widest network that can be trusted, by IP version: that of Docker's own bridge networks.
_MIN_PREFIX_LENGTHS = {4: 16, 6: 48}

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TIER_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Service names in Docker may have an underscore.
_URL_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]{1,44}")
_ROUTE_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,=:@/-]*")
_OTHER_STRIPE_ID_PREFIXES = ("prod_", "plink_", "sub_", "si_", "cus_", "cs_")
_DURATION = re.compile(r"(0|[1-9][0-9]{0,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}[A-Za-z0-9]")
# Headers that Traefik, the gate or HTTP itself sets, or that describe the request rather than the user.
_RESERVED_HEADERS = re.compile(
    r"x-*sk-.*|x-forwarded-(for|host|method|port|prefix|proto|server|uri)|x-real-ip|cookie|host|accept(-.*)?|origin|"
    r"sec-.*|access-control-.*|connection|content-.*|transfer-encoding|te|trailers?|upgrade|keep-alive|proxy-.*|range|"
    r"expect|if-.*|user-agent|forwarded|via|referer|date|cache-control|x-(original|rewrite)-ur[il]|"
    r"x-http-method(-override)?|x-method-override",
    re.IGNORECASE,
)
_MIDDLEWARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}@[a-z][a-z0-9-]{0,30}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# Characters with a meaning to the programs that read our files: Traefik's templates, compose, Traefik's rules.
_FORBIDDEN = {
    "{{": "{{ starts a template in Traefik's files",
    "`": "a back-tick ends a text in Traefik's rules",
    "$": "$ starts a variable in compose files",
}


def text_problem(text: str) -> str | None:
    """Why this text must not reach another program's configuration."""
    for token, why in _FORBIDDEN.items():
        if token in text:
            return why
    if not text.isprintable():
        return "it contains a control character or an invisible one"
    return None


def app_id_problem(text: str) -> str | None:
    return None if _ID.fullmatch(text) else "only a-z, 0-9 and - are allowed, 63 characters at most"


def tier_id_problem(text: str) -> str | None:
    return None if _TIER_ID.fullmatch(text) else "only a-z, 0-9, _ and - are allowed, 63 characters at most"


def ascii_host(text: str) -> str:
    """The host lower-case and in ASCII (punycode). Raises `ValueError` with the reason."""
    problem = text_problem(text)
    if problem:
        raise ValueError(problem)
    reasons = {"*": "no wildcards", ":": "no port", "/": "no path or scheme", "_": "no underscores", " ": "no blanks"}
    for char, why in reasons.items():
        if char in text:
            raise ValueError(why)
    if len(text) > 253:
        raise ValueError("253 characters at most")
    labels = [_ascii_label(label) for label in text.split(".")]
    host = ".".join(labels)
    if len(host) > 253:
        raise ValueError("253 characters at most")
    return host


def host_problem(text: str) -> str | None:
    try:
        ascii_host(text)
    except ValueError as exc:
        return str(exc)
    return None


def suggested_host(text: str) -> tuple[str, str] | None:
    """`("a host name without scheme and port", "chat.example.com")` for a URL or address with a valid host in it."""
    parts = _split(text if "://" in text else f"//{text}")
    host = (parts.hostname or "").rstrip(".") if parts else ""
    if parts is None or "@" in text or host_problem(host):
        return None
    around = {
        "scheme": bool(parts.scheme),
        "port": parts.port is not None,
        "path": bool(parts.path or parts.query or parts.fragment),
        "closing dot": (parts.hostname or "").endswith("."),
    }
    extra = [name for name, found in around.items() if found]
    return (f"a host name without {' and '.join(extra)}", host) if extra else None


def _ascii_label(label: str) -> str:
    if not label:
        raise ValueError("a part between dots is empty")
    if label.isascii() and not label.lower().startswith("xn--"):
        result = label.lower()
    else:
        try:
            # As browsers do (UTS 46, not transitional): the standard library's IDNA 2003 turns ß into ss.
            result = idna.encode(label.lower(), uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError, IndexError):
            raise ValueError("it is not a valid internationalised domain name") from None
    if not _LABEL.fullmatch(result):
        raise ValueError("between dots 1 to 63 of a-z, 0-9 and -, no - at either end")
    return result


def url_problem(text: str) -> str | None:
    """Why this is no http(s) URL that a browser can open."""
    problem = text_problem(text)
    if problem:
        return problem
    if not text.isascii() or " " in text or "\\" in text or '"' in text or "<" in text or ">" in text:
        return "spaces, quotes and non-ASCII characters must be percent-encoded (hosts: punycode)"
    parts = _split(text)
    if not text.startswith(("http://", "https://")):
        return "it must start with http:// or https://"
    if parts is None:
        return "the port must be from 1 to 65535"
    if parts.username is not None or parts.password is not None:
        return "no user name or password"
    if not _URL_HOST.fullmatch(parts.hostname or ""):
        return "the host is not valid"
    return None


def origin_problem(text: str) -> str | None:
    """Why this is no http(s) URL of a service: scheme, host and port only."""
    problem = url_problem(text)
    if problem:
        return problem
    parts = urlsplit(text)
    if parts.path not in ("", "/"):
        return "no path"
    return "no query and no fragment" if "?" in text or "#" in text else None


def web_origin_problem(text: str) -> str | None:
    """Why no browser sends this as the `Origin` of a page."""
    if text in ("*", "null"):
        return "list each origin, because error responses are read with the user's cookies"
    problem = url_problem(text)
    if problem:
        return problem
    parts = urlsplit(text)
    if text != f"{parts.scheme}://{parts.netloc}":
        return "scheme, host and a port other than the default; no path, not even /"
    if text != text.lower():
        return "in lower case, as browsers send it"
    if parts.port == {"http": 80, "https": 443}[parts.scheme]:
        return "without the default port, as browsers send it"
    return None


def _split(text: str) -> SplitResult | None:
    """None if it is no URL, or has an invalid port."""
    try:
        parts = urlsplit(text)
        valid = parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        return None
    return parts if valid else None


def route_path_problem(text: str) -> str | None:
    """Why the gate could not safely compare this with the path of a request."""
    problem = text_problem(text)
    if problem:
        return problem
    if not text.startswith("/"):
        return "it starts with /"
    if "%" in text:
        return "no encoded characters"
    if "?" in text or "#" in text:
        return "no query and no fragment"
    if not _ROUTE_PATH.fullmatch(text):
        return "only A-Z a-z 0-9 and . _ ~ ! & ( ) + , = : @ - are allowed between slashes"
    segments = text[1:].split("/") if text != "/" else []
    if "*" in text or any(segment.startswith(":") for segment in segments):
        return "no wildcards or placeholders: a rule covers its path and everything below it"
    if any(segment in (".", "..") for segment in segments):
        return "no . or .. between slashes"
    if "" in segments:
        return "no empty segment: neither // nor / at the end"
    if text == UPGRADE_PATH or text.startswith(UPGRADE_PATH + "/"):
        return f"{UPGRADE_PATH} is reserved for SKPayments"
    return None


def price_id_problem(text: str) -> str | None:
    """Why this is the id of another object of Stripe. Ids of old plans have any form, so no prefix is required."""
    return f"{text.partition('_')[0]}_ is no price" if text.startswith(_OTHER_STRIPE_ID_PREFIXES) else None


def product_id_problem(text: str) -> str | None:
    return "price_ is no product" if text.startswith("price_") else None


def grace_seconds(text: str) -> int:
    """`7d` as seconds. Raises `ValueError` with the reason."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a whole number and s, m, h or d")
    result = seconds(text)
    if result > MAX_GRACE_SECONDS:
        raise ValueError("90d at most")
    return result


def seconds(text: str) -> int:
    """`5m` as seconds."""
    return int(text[:-1]) * _SECONDS[text[-1]]


def grace_problem(text: str) -> str | None:
    try:
        grace_seconds(text)
    except ValueError as exc:
        return str(exc)
    return None


def secret_ref_problem(text: str) -> str | None:
    """Why this is no reference to a secret. Never quotes it: it may be the secret."""
    prefix, _, name = text.partition(":")
    if prefix == "env":
        return None if _ENV_NAME.fullmatch(name) else "after env: put the name of a variable (A-Z a-z 0-9 and _)"
    if prefix == "file":
        segments = name.split("/")
        valid = name.startswith("/") and name.isprintable() and len(name) <= 1024 and ".." not in segments
        return None if valid and segments[-1] else "after file: put the absolute path of a file, such as /run/secrets/x"
    return "write a reference, never the secret itself"


def header_name_problem(text: str) -> str | None:
    """Why this header cannot contain credentials."""
    if not _HEADER_NAME.fullmatch(text):
        return "only letters, digits and - are allowed, as backends read anything else in several ways"
    return "this header has another meaning" if _RESERVED_HEADERS.fullmatch(text) else None


def trusted_header_problem(text: str) -> str | None:
    """Why this header cannot be a trusted header."""
    if text.lower() in ("authorization", "x-api-key"):
        return "clients send their own credentials in it"
    return header_name_problem(text)


def middleware_problem(text: str) -> str | None:
    """Why this is no middleware name that Traefik resolves alike from a file and from labels."""
    if not _MIDDLEWARE.fullmatch(text):
        return "its name, @ and the provider that defines it"
    return "sk-… are generated by SKPayments, and none of them sets a user" if text.startswith("sk-") else None


def traefik_version_problem(text: str) -> str | None:
    """Why routes for this version of Traefik would be unsafe or unreadable."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return "three numbers with dots between them"
    if [int(part) for part in parts] < [int(part) for part in OLDEST_TRAEFIK.split(".")]:
        return f"{OLDEST_TRAEFIK} at least: older versions can be made to bypass the gate"
    return None if int(parts[0]) == 3 else "Traefik 4 is not supported"


def network_problem(text: str) -> str | None:
    """Why this is no address or network to trust about client addresses."""
    try:
        network = ip_network(text)
    except ValueError:
        return "an IP address, or a network whose host bits are 0"
    widest = _MIN_PREFIX_LENGTHS[network.version]
    return None if network.prefixlen >= widest else f"/{widest} at least: every address in it could claim any user"
