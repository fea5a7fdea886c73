"""The metadata of all tables and the types of their columns: text compared byte for byte, times in epoch seconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Text, text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

# By default PostgreSQL sorts by the locale of the cluster; SQLite compares bytes.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
INSTANT = BigInteger()
# SQLite numbers rows only if the column type is exactly INTEGER.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")

OWN_ACCOUNT = ""
"""The Stripe account of STRIPE_SECRET_KEY, in every column `account`. See docs/adr/0018."""


def account(*, primary_key: bool = False) -> Column[str]:
    """The account in which the Stripe ids of the row are valid."""
    return Column("account", TEXT, primary_key=primary_key, nullable=False, server_default=text("''"))
