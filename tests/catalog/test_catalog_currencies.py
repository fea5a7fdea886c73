"""How many decimals Stripe's amounts have, for every currency that Stripe takes."""

from __future__ import annotations

import pytest

from gateway.catalog.currencies import decimals

# By hand from https://docs.stripe.com/currencies: presentment currencies, "zero-decimal", "three-decimal", "special
# cases". ISK and UGX are sent in hundredths; HUF and TWD are without decimals in payouts only.
NO_DECIMALS = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
THREE_DECIMALS = "BHD JOD KWD OMR TND"
TWO_DECIMALS = """
    USD AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP
    CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS
    KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN
    PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX
    UYU UZS WST XCD YER ZAR ZMW
"""


@pytest.mark.parametrize(("currencies", "digits"), [(NO_DECIMALS, 0), (TWO_DECIMALS, 2), (THREE_DECIMALS, 3)])
def test_every_currency_of_stripe_has_its_decimals(currencies: str, digits: int) -> None:
    for currency in currencies.split():
        assert decimals(currency) == digits, currency
        assert decimals(currency.lower()) == digits, currency


def test_the_table_has_every_currency_once() -> None:
    listed = f"{NO_DECIMALS} {TWO_DECIMALS} {THREE_DECIMALS}".split()
    assert len(listed) == len(set(listed))
    assert len(listed) > 135
