"""The single values of apps.json as pydantic types, each with the text of its error message. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.catalog import values

INVALID_VALUE = "broken"
MAX_LIMIT = 2**53  # what JSON numbers hold exactly, and far over any limit


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value: what is `expected`, in words, and `problem`, a further check of texts that pydantic accepts."""

    expected: str
    problem: Callable[[str], str | None] | None = None
    secret: bool = False
    instead: Callable[[str], tuple[str, str] | None] | None = None
    """For a text that contains a valid value: the expectation, and the value alone to suggest."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def _check(self, value: object, inner: Callable[[object], object]) -> object:
        why = self.problem(value) if self.problem is not None and isinstance(value, str) else None
        if why and self.instead is not None and isinstance(value, str) and (better := self.instead(value)):
            expected, use = better
            raise PydanticCustomError(
                INVALID_VALUE,
                "expected {expected}",
                {"expected": expected, "why": "", "secret": self.secret, "use": use},
            )
        try:
            result = inner(value)
        except ValidationError:
            raise self._invalid_value(why or "") from None
        if why:
            raise self._invalid_value(why)
        return result

    def _invalid_value(self, why: str) -> PydanticCustomError:
        context = {"expected": self.expected, "why": why, "secret": self.secret, "use": ""}
        return PydanticCustomError(INVALID_VALUE, "expected {expected}", context)


class Shape(BaseModel):
    """An object of apps.json: no coercion, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=False)


AppId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    Leaf('an id of a-z, 0-9 and -, 63 characters at most, such as "my-app"'),
]
TierId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$"),
    Leaf('an id of a-z, 0-9, _ and -, 63 characters at most, such as "pro"'),
]
Feature = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$"),
    Leaf('a feature of a-z, 0-9, _ . and -, 63 characters at most, such as "images"'),
]
Name = Annotated[str, Field(min_length=1, max_length=100), Leaf("a name of 1 to 100 characters", values.text_problem)]
Host = Annotated[
    str,
    Field(min_length=1),
    Leaf('a host name, such as "chat.example.com"', values.host_problem, instead=values.suggested_host),
]
Origin = Annotated[
    str,
    Field(min_length=1, max_length=1000),
    Leaf('the URL of a service, such as "http://open-webui:8080"', values.origin_problem),
]
WebUrl = Annotated[
    str,
    Field(min_length=1, max_length=2000),
    Leaf('a URL, such as "https://chat.example.com/"', values.url_problem),
]
WebOrigin = Annotated[
    str,
    Field(min_length=1, max_length=300, pattern=r"^https?://[a-z0-9.:_\[\]-]+$"),
    Leaf('the origin of a web page, such as "https://app.example.com"', values.web_origin_problem),
]
RoutePath = Annotated[
    str, Field(min_length=1, max_length=500), Leaf('a path, such as "/api/v1/notes"', values.route_path_problem)
]
SecretText = Annotated[
    str,
    Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"),
    Leaf('"env:NAME" or "file:/path" where the secret is', values.secret_ref_problem, secret=True),
]
Limit = Annotated[int | None, Field(ge=0, le=MAX_LIMIT), Leaf("a whole number >= 0 or null")]
PlainName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"),
    Leaf('a name of A-Z, a-z, 0-9, _ . and -, such as "websecure"'),
]
# A dot or @ in these has another meaning to Traefik.
ResolverName = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"),
    Leaf('a name of A-Z, a-z, 0-9, _ and -, such as "letsencrypt", or null'),
]
# Only known methods: with a mistyped one the real method would not be protected.
Method = Annotated[
    Literal[
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE",
        "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY",
    ],
    Leaf('an HTTP method in upper case, such as "POST"'),
]  # fmt: skip
Flag = Annotated[bool, Leaf("true or false")]
