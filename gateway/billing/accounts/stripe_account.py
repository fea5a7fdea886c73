"""The Stripe account that this process works with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StripeAccount:
    """`account_id`: the account that the store is bound to, '' while it is not known.

    `wrong`: our key is of another account or mode than the store's; nothing may be created there.
    `signing_keys` sign what we write on our customers at Stripe, newest first; see `stripe.ownership`.
    `unknown_customers`: customers that events named and that are not ours → until when they are not looked up.
    `recovering`: our customers are still being read from Stripe; no user's limits are written until that is done.
    """

    signing_keys: tuple[bytes, ...]
    account_id: str = ""
    wrong: bool = False
    recovering: bool = False
    unknown_customers: dict[str, int] = field(default_factory=dict)
