"""How many decimals Stripe's amounts have: `unit_amount` is in units of 10 ** -decimals of the currency. Pure.

https://docs.stripe.com/currencies#minor-units. ISO 4217 and the browser say otherwise for some: Stripe takes ISK and
UGX in hundredths although nobody pays a hundredth of them, and HUF and TWD are without decimals in payouts only.
"""

from __future__ import annotations

_NO_DECIMALS = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE_DECIMALS = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))


def decimals(currency: str) -> int:
    """0, 2 or 3, for a currency code in any case."""
    code = currency.lower()
    if code in _NO_DECIMALS:
        return 0
    return 3 if code in _THREE_DECIMALS else 2
