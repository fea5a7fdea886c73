"""`skpay init`: the folder of a new installation, from five answers."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import click

from gateway.catalog.document import quoted
from gateway.catalog.values import host_problem, suggested_host
from gateway.cli.init_catalog import Answers, catalog_text
from gateway.cli.init_folder import check_answers, folder_of, write_folder
from gateway.cli.output import good, say
from gateway.errors import ConfigError

_NOT_AN_ID = re.compile(r"[^a-z0-9]+")
_OPEN_WEBUI = "openwebui"
_ASK_LITELLM = "LiteLLM: here (run one in this project), the URL of yours, or none"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--app", "name", help="The name of the app, as users see it. [default: SKAI]")
@click.option("--host", help="The host name of the app, such as chat.example.com.")
@click.option(
    "--identity", help=f"How people sign in: {_OPEN_WEBUI}, or an entry of identity as JSON (docs/identity.md)."
)
@click.option(
    "--stripe-key-file", type=click.File("r"), help="The file that holds Stripe's secret key; - is standard input."
)
@click.option("--litellm", help="here: run one in this project; or the URL of yours; or none. [default: here]")
@click.option("--pay-host", help="The host name of checkout and webhooks. [default: pay. and the app's domain]")
@click.option("--upstream", help="The app's address on the Docker network, if it is not Open WebUI.")
@click.option("--acme-email", default="", help="Get certificates from Let's Encrypt on port 443, by this address.")
@click.option("--yes", is_flag=True, help="Ask nothing: flags and defaults. Without a terminal this is always so.")
def init(
    folder: Path,
    name: str | None,
    host: str | None,
    identity: str | None,
    stripe_key_file: IO[str] | None,
    litellm: str | None,
    pay_host: str | None,
    upstream: str | None,
    acme_email: str,
    yes: bool,
) -> None:
    """Write apps.json, secrets, .env, docker-compose.yml and Traefik's configuration into FOLDER.

    Nothing that exists is overwritten, and no network is used. Stripe's key can also be in STRIPE_SECRET_KEY.
    """
    ask = not yes and sys.stdin.isatty()
    name = name or _answer(ask, "App: its name", "SKAI", _app_id)
    host = _host(host or _answer(ask, "Host: where people reach it, such as chat.example.com", None, _host), "--host")
    pay_host = _host(pay_host or _pay_host(host), "--pay-host")
    identity = identity or _answer(ask, "Identity: openwebui, or an entry of identity as JSON", _OPEN_WEBUI, _entry)
    stripe_key = _stripe_key(ask, stripe_key_file)
    litellm = _litellm(litellm or _answer(ask, _ASK_LITELLM, "here", _litellm))
    app_id = _app_id(name)
    answers = Answers(
        app_id=app_id,
        name=name,
        host=host,
        pay_host=pay_host,
        identity=_entry(identity),
        upstream=upstream or (f"http://{app_id}:8080" if identity != _OPEN_WEBUI else "http://open-webui:8080"),
        stripe_key=stripe_key,
        litellm=litellm,
        acme_email=acme_email,
    )
    check_answers(answers)
    written = write_folder(folder, folder_of(answers, catalog_text(answers), folder))
    for path in written:
        good(f"{path} written")
    _say_next(answers, folder)


def _answer(ask: bool, question: str, default: str | None, check: Callable[[str], object] | None = None) -> str:
    """The answer to a question, which is repeated until the answer is valid."""
    if ask:
        return str(click.prompt(question, default=default, value_proc=partial(_checked, check)))
    if default is None:
        raise ConfigError(["--host: not given, and there is no terminal to ask on; give --host chat.example.com"])
    return default


def _checked(check: Callable[[str], object] | None, text: str) -> str:
    try:
        if check is not None:
            check(text.strip())
    except ConfigError as exc:
        raise click.UsageError("; ".join(exc.problems)) from None
    return text.strip()


def _app_id(name: str) -> str:
    """The id that is made of the app's name. Raises `ConfigError`."""
    app_id = _NOT_AN_ID.sub("-", name.lower()).strip("-")
    if not app_id:
        raise ConfigError([f"--app: expected a name with a letter a-z or a digit for the app's id, got {quoted(name)}"])
    return app_id


def _host(text: str, flag: str = "--host") -> str:
    """Raises `ConfigError`."""
    if (better := suggested_host(text)) is not None:
        expected, use = better
        raise ConfigError([f'{flag}: expected {expected}, got "{text}". Use "{use}".'])
    if (why := host_problem(text)) is not None:
        raise ConfigError([f'{flag}: expected a host name, such as "chat.example.com", got "{text}": {why}'])
    return text


def _litellm(text: str) -> str:
    """Raises `ConfigError`."""
    if text not in ("here", "none") and not text.startswith(("http://", "https://")):
        raise ConfigError([f'--litellm: expected here, none or a URL such as "http://litellm:4000", got "{text}"'])
    return text


def _check_stripe_key(text: str) -> None:
    """Raises `ConfigError`."""
    if text and not text.startswith(("sk_", "rk_")):
        where = "copy the secret key from Dashboard > Developers > API keys"
        raise ConfigError([f"the Stripe key: expected sk_… or rk_…, got another text, not shown here; {where}"])


def _stripe_key(ask: bool, file: IO[str] | None) -> str:
    """Never an argument: other users of the machine can see those. Empty: the operator writes the file later."""
    if file is not None:
        return file.read().strip()
    found = os.environ.get("STRIPE_SECRET_KEY", "").strip()
    if found or not ask:
        return found
    question = "Stripe key: sk_… or rk_… (not shown; Enter to add it later)"
    check = partial(_checked, _check_stripe_key)
    return str(click.prompt(question, default="", show_default=False, hide_input=True, value_proc=check))


def _pay_host(host: str) -> str:
    domain = host.partition(".")[2]
    return f"pay.{domain}" if "." in domain else f"pay.{host}"


def _entry(identity: str) -> dict[str, object] | None:
    """None: Open WebUI, run in the same project. Raises `ConfigError`."""
    if identity == _OPEN_WEBUI:
        return None
    try:
        entry = json.loads(identity)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        example = '\'{"kind": "user_key"}\''
        expected = f"expected {_OPEN_WEBUI} or an entry of identity as JSON, such as {example}"
        # An entry may contain a secret by mistake.
        got = "text that is not JSON" if "{" in identity else quoted(identity)
        raise ConfigError([f"--identity: {expected}, got {got}"])
    return entry


def _say_next(answers: Answers, folder: Path) -> None:
    say("\nNext")
    if folder != Path():
        say(f"  cd {folder}")
    if not answers.stripe_key:
        say("  cat > secrets/stripe_secret_key        # paste sk_… or rk_…, Enter, Ctrl-D")
    say(f"  # At Stripe: the prices {answers.lookup_key('pro')} and {answers.lookup_key('enterprise')},")
    say(f"  # and the webhook endpoint https://{answers.pay_host}/webhook/stripe with the events that SOP.md lists.")
    say("  cat > secrets/stripe_webhook_secret    # paste whsec_…, Enter, Ctrl-D")
    if answers.litellm_here:
        say("  ${EDITOR:-vi} .env litellm/config.yaml # OPENAI_API_KEY, and your models")
        say("  docker compose up -d litellm")
        say("  docker compose exec litellm python3 /etc/litellm/keys.py")
    elif answers.litellm_url:
        say("  # Make both keys in your LiteLLM (SOP.md, LiteLLM).")
        say("  cat > secrets/litellm_key              # the narrow one: paste sk-…, Enter, Ctrl-D")
        say("  cat > secrets/litellm_shared_key       # the app's shared one; .env has it as LITELLM_SHARED_KEY too")
        say("  ${EDITOR:-vi} .env")
    say("  docker compose run --rm skpayments python -m gateway check")
    say("  docker compose up -d")
    say("  docker compose exec skpayments python -m gateway doctor --live")
