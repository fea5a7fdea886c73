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
    """The function of a command, as `module:name`, and the first line of its help."""

    target: str
    help: str


@dataclass(frozen=True, slots=True)
class Noun:
    """The help of a group of commands, and its verbs."""

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
        "check": Command(
            "check:check", "Check the environment, apps.json and the database as serve does, without starting."
        ),
        "serve": Command("serve:serve", "Serve until SIGTERM; SIGHUP reads apps.json again."),
        "doctor": Command("doctor:doctor", "Check the running installation; print what is wrong and how to fix it."),
        "reconcile": Command("reconcile:reconcile", "Compare Stripe, the store and LiteLLM; exit 1 if they differ."),
        "selftest": Command(
            "selftest:selftest", "Play every buyer's story against your own apps.json with fake vendors."
        ),
        "demo": Command("demo:demo", "Try everything: no account, no key, no Docker, no network."),
    },
    "People": {
        "users": Noun(
            "The users of the apps, their tiers and the reasons.",
            {
                "list": Command(
                    "users_list:list_",
                    "List users by app and user id, with tier, status and source.",
                ),
                "show": Command("users:show", "Show one user's tier, limits and features, as the app gets them."),
                "explain": Command("users:explain", "Explain a user's tier: its events, changes and provisioning."),
                "grant": Command("users:grant", "Give a user a tier without a subscription."),
                "revoke": Command("users:revoke", "Revoke every grant of a user."),
                "refresh": Command("users:refresh", "Refresh a user's tier from Stripe now, as an event does."),
                "adopt": Command(
                    "adopt:adopt", "Make existing Stripe customers users of an app; exit 1 if one was refused."
                ),
                "move": Command(
                    "users_move:move",
                    "Move customer, keys, grants, tier and limits to another user id; refused if both pay.",
                ),
                "delete": Command(
                    "forget:delete", "Delete a user: cancel subscriptions, delete the user at Stripe, LiteLLM and here."
                ),
            },
        ),
        "keys": Noun(
            "API keys of apps and of their users; stored as hashes, shown once.",
            {
                "create": Command("keys:create", "Create a key and print it; it cannot be shown later."),
                "list": Command("keys:list_", "List keys, live and revoked."),
                "revoke": Command("keys:revoke", "Revoke a key, effective with the next request."),
            },
        ),
    },
    "Stripe and LiteLLM": {
        "account": Noun(
            "The Stripe account and mode of the database.",
            {
                "show": Command("account:show", "Show the account and mode of the database, and the mode of the key."),
                "move": Command(
                    "account:move",
                    "Delete the data of one Stripe account; the next start binds the database to the key's account.",
                ),
            },
        ),
        "events": Noun(
            "Events received from Stripe and their processing.",
            {
                "list": Command("events:list_", "List the newest events."),
                "show": Command("events:show", "Print one event with its body, as JSON."),
                "replay": Command("events:replay_", "Process an event as if it were received now."),
            },
        ),
        "portal": Noun(
            "Stripe's customer portal, where users change and cancel subscriptions.",
            {
                "push": Command(
                    "portal:push", "Write each app's portal configuration to Stripe, overwriting changes made there."
                )
            },
        ),
        "limits": Noun(
            "Provisioning of the limits of apps.json to LiteLLM.",
            {
                "push": Command(
                    "limits:push",
                    "Provision every user whose limits differ from apps.json, and wait until it is done.",
                ),
                "retry": Command("limits:retry", "Retry provisioning that was given up, after its cause was fixed."),
            },
        ),
    },
    "Traefik and the tunnel": {
        "routes": Noun(
            "Traefik, Docker and tunnel configuration, generated from apps.json.",
            {
                "write": Command("routes:write", "Write every file whose text changed, each atomically."),
                "check": Command(
                    "routes:check", "Check the files; exit 1 if one is missing, out of date or left over."
                ),
                "diff": Command("routes:diff", "Show what write would change, line by line, and change nothing."),
                "show": Command("routes:show", "Print the files of a format, or one of them."),
            },
        ),
        "gate": Noun(
            "The gate: its answers to Traefik, and processes that are only a gate.",
            {
                "explain": Command(
                    "gate:explain", "Explain the gate's answer to a request to APP, without counting it."
                ),
                "serve": Command(
                    "gate_serve:serve",
                    "Serve only the gate until SIGTERM, beside the main process or on another machine.",
                ),
            },
        ),
        "tunnel": Noun(
            "The rules of a remotely managed Cloudflare Tunnel and its DNS.",
            {
                "plan": Command("tunnel:show_plan", "Show what apply would change, and change nothing."),
                "apply": Command("tunnel:apply", "Write the apps' rules to the tunnel and their hosts to DNS."),
            },
        ),
    },
    "Operations": {
        "alerts": Noun(
            "Problems that an operator must fix.",
            {"list": Command("alerts:list_", "List open alerts; exit 1 if there is any.")},
        ),
        "notices": Noun(
            "Notices of tier changes sent to apps.",
            {
                "list": Command("notices:list_", "List the newest notices and the apps' answers."),
                "replay": Command("notices:replay_", "Resend a notice, with the same webhook-id and body."),
            },
        ),
        "database": Noun(
            "Backups of the database.",
            {
                "backup": Command("database:backup", "Write a copy of the database to FILE; a server may run."),
                "restore": Command("database:restore", "Replace the database by a backup, while no server runs."),
            },
        ),
        "schema": Noun(
            "The JSON Schema of apps.json, for your editor.",
            {
                "show": Command("schema:show", "Print it."),
                "write": Command("schema:write", "Write it to FILE, atomically."),
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
"""Former names: they print the new one and exit 2."""


class TableGroup(click.Group):
    """A group that lists its commands from the table and imports one when it runs."""

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
        """As click's; for an unknown name it suggests a similar one."""
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
        """The table's names; click's own would import every command at each press of Tab."""
        found = [
            CompletionItem(name, help=entry.help) for name, entry in self.entries.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
