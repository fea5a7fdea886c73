"""Every command of `skpay` in one table: NOUN VERB, or a verb alone for the installation as a whole.

A command's module is imported when the command runs. Help, completion and `--version` read the table alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is, as `module:name`, and the first line of its help."""

    target: str
    help: str


@dataclass(frozen=True, slots=True)
class Noun:
    """What a group of commands is about, and its verbs."""

    help: str
    verbs: Mapping[str, Command]


Entry = Command | Noun
_CLI = "gateway.cli"

SECTIONS: dict[str, dict[str, Entry]] = {
    "The installation": {
        "init": Command(
            "init:init",
            "Write apps.json, secrets, .env, docker-compose.yml and Traefik's configuration into FOLDER.",
        ),
        "check": Command("check:check", "Check the environment and apps.json as serve would, and start nothing."),
        "serve": Command("serve:serve", "Serve until SIGTERM; SIGHUP reads apps.json again."),
        "doctor": Command("doctor:doctor", "Look at the running installation and say what is wrong and what to type."),
        "reconcile": Command("reconcile:reconcile", "Compare Stripe, the store and LiteLLM; exit 1 if they differ."),
        "selftest": Command(
            "selftest:selftest", "Play every buyer's story against your own apps.json with pretend vendors."
        ),
        "demo": Command("demo:demo", "Try everything: no account, no key, no Docker, no network."),
    },
    "People": {
        "users": Noun(
            "The users of the apps, their tiers and why they have them.",
            {
                "list": Command(
                    "users_list:list_",
                    "Everybody we know, in the order of app and user id, with tier, status and source.",
                ),
                "show": Command("users:show", "One user's tier, limits and features, as the app is told them."),
                "explain": Command(
                    "users:explain", "Why the user has this tier: the events, changes and provisioning behind it."
                ),
                "grant": Command("users:grant", "Give a user a tier without a subscription."),
                "revoke": Command("users:revoke", "Take back every grant of a user."),
                "refresh": Command("users:refresh", "Ask Stripe about a user now, as an event would."),
                "adopt": Command(
                    "adopt:adopt", "Make existing Stripe customers users of an app; exit 1 if any was refused."
                ),
                "move": Command(
                    "users_move:move",
                    "Give customer, keys, grants, tier and limits of one user id to another; refused when both pay.",
                ),
                "delete": Command(
                    "forget:delete", "Forget a person: end subscriptions, delete them at Stripe, in LiteLLM and here."
                ),
            },
        ),
        "keys": Noun(
            "API keys of apps and of their users; kept hashed, shown once.",
            {
                "create": Command("keys:create", "Make a key and print it, this once."),
                "list": Command("keys:list_", "Every key, live or revoked."),
                "revoke": Command("keys:revoke", "The key stops working with the next request."),
            },
        ),
    },
    "Stripe and LiteLLM": {
        "account": Noun(
            "The Stripe account and mode that the database is bound to.",
            {
                "show": Command(
                    "account:show", "Which account and mode the database belongs to, and which mode the key has."
                ),
                "move": Command(
                    "account:move",
                    "Forget what came from one Stripe account, so that the next start binds the database to the key's.",
                ),
            },
        ),
        "events": Noun(
            "What Stripe sent and what became of it.",
            {
                "list": Command("events:list_", "The newest events."),
                "show": Command("events:show", "One event with its body, as JSON."),
                "replay": Command("events:replay_", "Route an event again, as if it came now."),
            },
        ),
        "portal": Noun(
            "Stripe's customer portal, where people change and cancel what they bought.",
            {
                "push": Command(
                    "portal:push", "Write each app's portal configuration to Stripe again, whatever was changed there."
                )
            },
        ),
        "limits": Noun(
            "The limits of apps.json on their way to LiteLLM.",
            {
                "push": Command(
                    "limits:push",
                    "Send LiteLLM the limits of every user that differ from apps.json, and wait until it holds them.",
                ),
                "retry": Command(
                    "limits:retry", "Send again what LiteLLM refused for good, after its cause was removed."
                ),
            },
        ),
    },
    "Traefik and the tunnel": {
        "routes": Noun(
            "Traefik, Docker and tunnel configuration, generated from apps.json.",
            {
                "write": Command(
                    "routes:write", "Write every file whose text changed; each appears whole or not at all."
                ),
                "check": Command("routes:check", "Exit 1 if a file is missing, out of date or left over."),
                "diff": Command("routes:diff", "Show what write would change, line by line, and change nothing."),
                "show": Command("routes:show", "Print what the format holds, or one of its files."),
            },
        ),
        "gate": Noun(
            "The gate's answers to Traefik.",
            {
                "explain": Command(
                    "gate:explain", "What the gate would answer a request to APP, and why; nothing is counted."
                )
            },
        ),
        "tunnel": Noun(
            "The rules of a remotely managed Cloudflare Tunnel and its DNS.",
            {
                "plan": Command("tunnel:show_plan", "Show what apply would change, and change nothing."),
                "apply": Command("tunnel:apply", "Put our rules into the tunnel and our hosts into DNS."),
            },
        ),
    },
    "Keeping it well": {
        "alerts": Noun(
            "Everything a person must look at.",
            {"list": Command("alerts:list_", "Every open alert; exit 1 if there is any.")},
        ),
        "notices": Noun(
            "The notices of tier changes that apps were sent.",
            {
                "list": Command("notices:list_", "The newest notices and what the apps answered."),
                "replay": Command(
                    "notices:replay_", "Send a notice again, under the same webhook-id and with the same text."
                ),
            },
        ),
        "database": Noun(
            "The database's backups.",
            {
                "backup": Command(
                    "database:backup", "Write a whole copy of the database to FILE, while the server runs or not."
                ),
                "restore": Command("database:restore", "Put a backup in the database's place, while no server runs."),
            },
        ),
        "schema": Noun(
            "The JSON Schema of apps.json, for your editor.",
            {
                "show": Command("schema:show", "Print it."),
                "write": Command("schema:write", "Write it to FILE, whole or not at all."),
            },
        ),
    },
}

RENAMED: dict[str, str] = {
    "status": "users show",
    "explain": "users explain",
    "grant": "users grant",
    "revoke": "users revoke",
    "refresh": "users refresh",
    "adopt": "users adopt",
    "retry": "limits retry",
    "backup": "database backup",
    "restore": "database restore",
}
"""Names of before, which are told the new one and do nothing."""


class TableGroup(click.Group):
    """A group whose commands are imported when they are run, and listed from the table."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, Entry]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._sections = sections

    @property
    def entries(self) -> dict[str, Entry]:
        return {name: entry for section in self._sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        if isinstance(entry, Noun):
            return TableGroup(cmd_name, help=entry.help, sections={"Commands": entry.verbs})
        module, _, name = entry.target.partition(":")
        command: click.Command = getattr(import_module(f"{_CLI}.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's; an unknown name is told the one that was meant."""
        name = args[0]
        if name not in self.entries and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{self._meant(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        if ctx.parent is None and name in RENAMED:
            return f" It is now: skpay {RENAMED[name]}"
        near = get_close_matches(name, self.entries, n=1)
        return f" Did you mean {near[0]!r}?" if near else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The table's names; click's own way would import every command at each press of Tab."""
        found = [
            CompletionItem(name, help=entry.help) for name, entry in self.entries.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
