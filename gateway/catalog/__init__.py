"""apps.json → Catalog: parsing with every problem at once, the JSON schema, lookups by price, host and app. Pure."""

from gateway.catalog.parsing import parse
from gateway.catalog.schema import json_schema, json_schema_text

__all__ = ["json_schema", "json_schema_text", "parse"]
