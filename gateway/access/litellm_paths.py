"""The alternative paths of LiteLLM's API calls, from its route table (1.106). Pure.

`/images/generations` is the same as `/v1/images/generations` and `/openai/deployments/{model}/images/generations`,
where the model may contain slashes; files and batches have `/{provider}/v1/…` as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# In normal form. The last ones pass a call through to OpenAI unchanged.
_STARTS = (
    "/", "/v1/", "/v2/", "/v1beta/", "/cursor/", "/cursor/v1/", "/openai/v1/", "/openai/", "/openai_passthrough/v1/",
    "/openai_passthrough/",
)  # fmt: skip
_BEFORE_A_MODEL = ("/openai/deployments/", "/engines/")
_AFTER_A_PROVIDER = "/v1/"
# First path segments that are served both with and without `/v1` before them.
_CALLS = (
    "assistants", "audio", "batches", "chat", "completions", "containers", "embeddings", "files", "fine_tuning",
    "images", "model", "models", "moderations", "ocr", "rag", "realtime", "rerank", "responses", "search", "threads",
    "videos",
)  # fmt: skip


class Alias(NamedTuple):
    """Paths that begin with `start` and contain `within` as whole segments, if it is not "". In normal form."""

    start: str
    within: str = ""


def aliases(path: str, *, public: bool) -> Iterator[Alias]:
    """The other paths of the calls that `path`, in normal form, covers. For a public rule, only those that certainly
    are the same call."""
    start = max((start for start in _STARTS if path.startswith(start)), key=len)
    rest = path[len(start) :]
    if path == "/" or path.startswith(_BEFORE_A_MODEL):
        return
    if rest:
        yield from (Alias(other + rest) for other in _STARTS if other != start)
        if not public:
            yield from (Alias(before, f"/{rest}") for before in _BEFORE_A_MODEL)
            yield Alias("/", f"{_AFTER_A_PROVIDER}{rest}")
    elif start.endswith("/v1/") and not public:
        yield from (Alias(f"/{call}/") for call in _CALLS)
        yield from (Alias(other) for other in (*_STARTS[1:], *_BEFORE_A_MODEL) if other != start)
        yield Alias("/", _AFTER_A_PROVIDER)
