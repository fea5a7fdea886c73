"""The answers of `skpay init`, and the apps.json made of them: the shipped sample with the operator's names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from gateway.cli.shipped import shipped

SECRETS = "/run/secrets"
# The models of the LiteLLM that init sets up: those that every tier has, and those of paid tiers.
COMMON_MODELS = ("small", "embedding", "speech", "transcription")
PAID_MODELS = ("large", "image")
_UNIT_AMOUNTS = {"pro": 2000, "enterprise": 10000}


@dataclass(frozen=True, slots=True)
class Answers:
    """`identity` None: Open WebUI, run in the same project. `litellm`: `here`, a URL or `none`."""

    app_id: str
    name: str
    host: str
    pay_host: str
    identity: dict[str, object] | None
    upstream: str
    stripe_key: str = field(repr=False)
    litellm: str
    acme_email: str

    @property
    def public_url(self) -> str:
        return f"https://{self.pay_host}"

    @property
    def litellm_here(self) -> bool:
        return self.litellm == "here"

    @property
    def litellm_url(self) -> str:
        """LiteLLM's address for SKPayments and the app; empty: there is none."""
        if self.litellm == "none":
            return ""
        return "http://litellm:4000" if self.litellm_here else self.litellm.rstrip("/")

    def lookup_key(self, tier_id: str) -> str:
        return f"{self.app_id}_{tier_id}_month"


def catalog_text(answers: Answers) -> str:
    """apps.json. Every secret is a file of the mounted folder, so that an app added later needs no restart."""
    document = json.loads(shipped("apps.json").read_bytes())
    (app,) = document["apps"]
    home = f"https://{answers.host}/"
    app.update(
        id=answers.app_id,
        name=answers.name,
        hosts=[answers.host],
        upstream=answers.upstream,
        api_key=f"file:{SECRETS}/{answers.app_id}_api_key",
        urls={"success": f"{home}?upgraded=1", "cancel": home},
        tiers=[_tier(tier, answers) for tier in app["tiers"]],
    )
    if answers.identity is None:
        app["identity"][0]["secret"] = f"file:{SECRETS}/webui_secret_key"
        app["sign_in_url"] = f"{home}auth"
    else:
        del app["sign_in_url"]
        app.update(identity=[answers.identity], routes=[])
    if not answers.litellm_url:
        del app["litellm"]
    elif answers.identity is not None and answers.identity.get("kind") == "litellm_key":
        app["litellm"] = {"mode": "internal_user"}
    else:
        app["litellm"]["shared_key"] = f"file:{SECRETS}/litellm_shared_key"
    if answers.acme_email:
        document["routing"] = {"entry_points": ["websecure"], "cert_resolver": "letsencrypt"}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _tier(tier: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """The shipped tiers with lookup keys named after this app, and the models of this LiteLLM."""
    changed = dict(tier)
    if "prices" in tier:
        price = {"lookup_key": answers.lookup_key(tier["id"]), "unit_amount": _UNIT_AMOUNTS[tier["id"]]}
        changed["prices"] = [{**price, "currency": "usd", "interval": "month"}]
    limits = dict(tier["limits"])
    if not answers.litellm_here:
        limits.pop("models", None)
    changed["limits"] = limits
    if not answers.litellm_url:
        del changed["limits"]
    return changed
