"""apps.schema.json, for completion and checks in editors, from the shapes that `parse` uses. Pure."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from gateway.catalog.shape import DocumentShape


class _Generator(GenerateJsonSchema):
    """Generates no title for values: an editor would show it instead of the description."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        """Omits the defaults "" and null, which only represent a missing key."""
        result = super().default_schema(schema)
        if result.get("default", 0) in ("", None):
            result = {key: value for key, value in result.items() if key != "default"}
        return result


def json_schema() -> dict[str, Any]:
    """The JSON schema of apps.json, draft 2020-12. It has no rules between values; `parse` checks those."""
    schema = DocumentShape.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema_text() -> str:
    """The content of apps.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
