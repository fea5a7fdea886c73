"""What a killed process had left undone, read from its SQLite file by a connection that cannot write."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass

from servers.crash_stage import CrashStage

# By user: who has an acknowledged event that was routed to them. All that waits was begun by such an event: nobody asks
# the gate, edits apps.json or grants anything while people buy.
_EVENTS = "SELECT event_id, state, user_id FROM inbox"
_REFRESHES = "SELECT user_id, lease_owner, lease_number FROM refreshes WHERE wanted > done"
_JOBS = "SELECT user_id, version FROM provisioning WHERE state = 'waiting'"
_NOTICES = "SELECT user_id, change_id FROM notices WHERE state = 'waiting'"


@dataclass(frozen=True)
class Unfinished:
    """`stages`: stage → how many users (for `inbox`: events) were there. `lost`: acknowledged, but not in the inbox."""

    stages: dict[str, int]
    lost: frozenset[str]


def unfinished_work(stage: CrashStage, buying: Collection[str]) -> Unfinished:
    """The unfinished work of events acknowledged to Stripe. Call it when the process is dead."""
    acknowledged = stage.acknowledged_at_kill
    with contextlib.closing(stage.connect()) as conn:
        events = {event_id: (state, user_id) for event_id, state, user_id in conn.execute(_EVENTS)}
        refreshes, jobs, notices = (conn.execute(each).fetchall() for each in (_REFRESHES, _JOBS, _NOTICES))
    owners = {user_id for event_id, (_, user_id) in events.items() if event_id in acknowledged}
    found = ["inbox" for event_id in acknowledged if events.get(event_id, ("", ""))[0] == "waiting"]
    for user_id, lease_owner, number in refreshes:
        if user_id not in owners:
            continue
        if not lease_owner:
            found.append("routed")
        elif user_id not in buying:
            found.append("fetched" if stage.saw.fetched.get(user_id) == number else "leased")
    for user_id, version in jobs:
        if user_id in owners:
            found.append("litellm sent" if stage.saw.provisioned.get(user_id) == version else "committed")
    found += ["notice sent" for user_id, change_id in notices if user_id in owners and change_id in stage.saw.noticed]
    return Unfinished({name: found.count(name) for name in set(found)}, acknowledged - events.keys())


def waiting(stage: CrashStage) -> dict[str, int]:
    """All unfinished work, of any kind."""
    queries = {
        "events": "SELECT count(*) FROM inbox WHERE state = 'waiting'",
        "refreshes": "SELECT count(*) FROM refreshes WHERE wanted > done",
        "provisioning": "SELECT count(*) FROM provisioning WHERE state = 'waiting'",
        "notices": "SELECT count(*) FROM notices WHERE state = 'waiting'",
    }
    counts = {name: stage.row(query) for name, query in queries.items()}
    counts["deliveries"] = 0 if stage.stripe.deliveries.idle else 1
    return {name: count for name, count in counts.items() if count}
