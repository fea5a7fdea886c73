"""apps.schema.json: what an editor completes and checks, from the shapes that `parse` uses. Pure."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from gateway.catalog.shape import DocumentShape


class _Generator(GenerateJsonSchema):
    """Without a title on every value, which an editor would show instead of the description."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        """Without the empty text and null that only stand for a key left out."""
        result = super().default_schema(schema)
        if result.get("default", 0) in ("", None):
            result = {key: value for key, value in result.items() if key != "default"}
        return result


def json_schema() -> dict[str, Any]:
    """The JSON schema of apps.json, draft 2020-12. Rules between values are not in it; `parse` has them all."""
    schema = DocumentShape.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema_text() -> str:
    """As apps.schema.json holds it, byte for byte."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
