"""The template that makes LiteLLM's user ids from an app's, and the reverse. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_TEMPLATE = "{user_id}"
_LITERALS = re.compile(r"[A-Za-z0-9_.:@|/-]*")
_MAX_LITERALS = 100


@dataclass(frozen=True, slots=True)
class LiteLLMIdTemplate:
    """A LiteLLM id is `prefix`, the user id and `suffix`."""

    prefix: str
    suffix: str

    @classmethod
    def parse(cls, text: str, app_id: str) -> LiteLLMIdTemplate:
        """`text` has `{user_id}` once, and `{app_id}` once or not at all."""
        prefix, _, suffix = text.replace("{app_id}", app_id).partition("{user_id}")
        return cls(prefix, suffix)

    def litellm_id(self, user_id: str) -> str:
        return f"{self.prefix}{user_id}{self.suffix}"

    def user_id(self, litellm_id: object) -> str | None:
        """None for an id that this template does not make."""
        if not isinstance(litellm_id, str) or len(litellm_id) <= len(self.prefix) + len(self.suffix):
            return None
        if not litellm_id.startswith(self.prefix) or not litellm_id.endswith(self.suffix):
            return None
        return litellm_id[len(self.prefix) : len(litellm_id) - len(self.suffix)]


def template_problem(text: str) -> str | None:
    """Why this is no template."""
    if text.count("{user_id}") != 1:
        return "it holds {user_id} once"
    if text.count("{app_id}") > 1:
        return "it holds {app_id} once at most"
    literals = text.replace("{user_id}", "").replace("{app_id}", "")
    if not _LITERALS.fullmatch(literals) or len(literals) > _MAX_LITERALS:
        return "besides these only A-Z a-z 0-9 and _ . : @ | / - are allowed"
    return None
