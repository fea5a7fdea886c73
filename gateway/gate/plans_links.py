"""Links to the plans page, which lead back to the refused page; and the answer at UPGRADE_PATH."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

from gateway.access.authentication import AuthenticatedUser, Authentication, RejectedCredential
from gateway.access.hosts import host_name
from gateway.access.paths import read_path
from gateway.access.policy import TierRequired
from gateway.access.return_urls import back_path, return_url
from gateway.catalog.model import Tier
from gateway.gate import answers, refusals
from gateway.gate import request as names
from gateway.gate.prepared_app import PreparedApp
from gateway.gate.request import Headers


class SignLink(Protocol):
    """Makes the `t` of an upgrade link."""

    def __call__(self, app_id: str, user_id: str, now: int, *, return_url: str = "", tier: str = "") -> str: ...


class PlansLinks:
    """`sign_link` makes the `t` of a link."""

    def __init__(self, public_url: str, sign_link: SignLink) -> None:
        self._public_url = public_url
        self._sign_link = sign_link

    def buy_url(self, app: PreparedApp, user_id: str, now: int, return_url: str, required: Tier | None) -> str:
        tier = "" if required is None else required.tier_id
        link = self._sign_link(app.app_id, user_id, now, return_url=return_url, tier=tier)
        return f"{self._public_url}/buy/{quote(app.app_id, safe='')}?t={link}"

    def return_url(self, app: PreparedApp, headers: Headers, uri: bytes | str | None = None) -> str:
        """The address of this request, or of another path on its host."""
        host = host_name(headers.get(names.HOST, b"").decode("latin-1")) or ""
        return return_url(app.app, host, headers.get(names.URI, b"") if uri is None else uri, self._public_url)

    def upgrade(
        self, app: PreparedApp, headers: Headers, authentication: Authentication, tier_id: str, page: bool, now: int
    ) -> bytes:
        """`/.skpayments/upgrade`: a redirect to the plans page, for the user that the gate identified. With
        `?back=/path` the page leads back there after the purchase, on the same host."""
        if isinstance(authentication, AuthenticatedUser):
            app.count("upgrade")
            tier = app.app.tier(tier_id) or app.app.default_tier
            target = back_path(headers.get(names.URI, b""))
            back = self.return_url(app, headers, target) if target else ""
            refused = app.access.policy.decide(authentication, tier_id, "GET", read_path(target)) if back else None
            required = refused.required_tier if isinstance(refused, TierRequired) else None
            return answers.see_other(
                self.buy_url(app, authentication.user_id, now, back, required), refusals.tier_header(tier)
            )
        return refusals.sign_in(
            app,
            authentication,
            authentication.reason if isinstance(authentication, RejectedCredential) else "sign in to upgrade",
            page,
        )
