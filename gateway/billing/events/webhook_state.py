"""What the webhook endpoint needs to verify an event, and what it has observed."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import Secrets


@dataclass(slots=True)
class WebhookState:
    """`secrets`: signing secrets, newest first.

    `skews`: how often an event was refused for its age; one more at a start, since an older alert may be open.
    `skews_settled`: how many of them were followed by an event with a good timestamp.
    """

    secrets: Secrets
    skews: int = 1
    skews_settled: int = 0
