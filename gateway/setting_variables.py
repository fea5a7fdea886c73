"""Every environment variable in one table: meaning, default, constraint and an example. Pure.

`settings` and `skpay tunnel` read the meanings and defaults from here; docs/configuration.md is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """`default` is None where the variable has none. A secret may also come from a file, named by `NAME_FILE`."""

    name: str
    what: str
    example: str
    constraint: str
    default: str | None = None
    required: bool = False
    secret: bool = False


_GENERATED = "at least 32 bytes, not a well-known default"
_PORT = "0 to 65535"

SERVICE = (
    Variable(
        "STRIPE_SECRET_KEY",
        "Stripe's secret or restricted key (sk_… or rk_…), Dashboard > Developers > API keys",
        "rk_live_…",
        "starts with sk_test_, sk_live_, rk_test_ or rk_live_",
        required=True,
        secret=True,
    ),
    Variable(
        "STRIPE_WEBHOOK_SECRET",
        "the signing secret of the webhook endpoint (whsec_…), Dashboard > Developers > Webhooks > the endpoint",
        "whsec_…",
        "starts with whsec_",
        required=True,
        secret=True,
    ),
    Variable(
        "GATE_SECRET",
        "shared with Traefik only; make one with: openssl rand -hex 32",
        "the output of openssl rand -hex 32",
        f"{_GENERATED}; letters, digits and ._~+/=- only",
        required=True,
        secret=True,
    ),
    Variable(
        "ADMIN_TOKEN",
        "the credential of /admin and of commands; make one with: openssl rand -hex 32",
        "the output of openssl rand -hex 32",
        f"{_GENERATED}; not the value of GATE_SECRET",
        required=True,
        secret=True,
    ),
    Variable(
        "PUBLIC_URL",
        "the address at which browsers and Stripe reach this service",
        "https://pay.example.com",
        "https, except on a private host; no path, query or user name",
        required=True,
    ),
    Variable(
        "LITELLM_URL",
        "LiteLLM's address",
        "http://litellm:4000",
        "a URL without /v1 or /ui at its end; set together with LITELLM_KEY",
    ),
    Variable(
        "LITELLM_KEY",
        "a LiteLLM key that may manage users",
        "sk-…",
        "required with LITELLM_URL",
        secret=True,
    ),
    Variable(
        "DATABASE_URL",
        "the database",
        "postgresql://user:password@host:5432/name",
        "sqlite:///relative, sqlite:////absolute or postgresql://; %40 and %2F for @ and / in a password",
        default="sqlite:///data/skpayments.db",
    ),
    Variable("APPS_FILE", "the path of apps.json", "/config/apps.json", "a path", default="apps.json"),
    Variable(
        "HOST",
        "the address on which both ports listen",
        "::",
        "an address or host name without scheme and port; :: takes IPv4 and IPv6",
        default="0.0.0.0",  # noqa: S104  # a container is reached from outside
    ),
    Variable("PORT", "the public port: checkout, portal, status, webhooks, admin API", "8080", _PORT, default="8080"),
    Variable(
        "GATE_PORT",
        "the gate's port, for Traefik only; never publish it",
        "8081",
        f"{_PORT}; not the value of PORT",
        default="8081",
    ),
    Variable(
        "GATE_PROCESSES",
        "how many gate processes serve GATE_PORT; by default one for each core but one, at least one; 0: the main "
        "process serves it",
        "2",
        "0 to 64",
    ),
    Variable(
        "GATE_CACHE",
        "the file in which gate processes keep their users, to start while the database is away; by default beside an"
        " SQLite database, none with PostgreSQL",
        "/data/gate-cache",
        "a path on a volume of this machine; it holds user ids and hashes of keys",
    ),
    Variable(
        "MAIN_URL",
        "where gate processes reach the main process; by default PORT of this machine",
        "http://skpayments:8080",
        "a URL without a path",
    ),
    Variable(
        "STRIPE_API_BASE",
        "Stripe's address",
        "https://api.stripe.com",
        "a URL without a path; a live key is refused for any other address than Stripe's",
        default="https://api.stripe.com",
    ),
)
"""What `skpay serve` and the commands that read its configuration use."""

TUNNEL = (
    Variable(
        "CLOUDFLARE_API_TOKEN",
        "an API token with Account > Cloudflare Tunnel > Edit, Zone > Zone > Read and Zone > DNS > Edit",
        "a token from the Cloudflare dashboard",
        "printable characters",
        required=True,
        secret=True,
    ),
    Variable(
        "CLOUDFLARE_ACCOUNT_ID",
        "the account's id, as the Cloudflare dashboard shows it",
        "023e105f4ecef8ad9ca31a8372d0c353",
        "32 hexadecimal digits",
        required=True,
    ),
    Variable(
        "CLOUDFLARE_TUNNEL_ID",
        "the tunnel's id, as the Cloudflare dashboard shows it",
        "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415",
        "a UUID",
        required=True,
    ),
    Variable(
        "CLOUDFLARE_API_BASE",
        "another address for Cloudflare's API, for tests",
        "http://127.0.0.1:9000",
        "an address of this machine",
        default="https://api.cloudflare.com/client/v4",
    ),
)
"""What `skpay tunnel` uses besides apps.json and PUBLIC_URL."""

TERMINAL = (Variable("NO_COLOR", "any value turns colours off in the output of commands", "1", "any text"),)

VARIABLES = {variable.name: variable for variable in (*SERVICE, *TUNNEL, *TERMINAL)}
