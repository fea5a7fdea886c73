"""What a request's path and method may change about its decision: whoever keeps answers keeps one for each class. Pure.

The class of a request is the set of conditions it meets: for each rule whose `methods` are empty or hold the method,
whether its normal form starts with `path`, and whether its normal form in lower case starts with `folded`. That goes
for plain paths only, which have one reading: at most 2048 of the characters `A-Za-z0-9_~!$&'()*+,=:@.-` and slashes, no
part empty and none ending in a dot. Any other must be asked for every time, and so must any method but GET, HEAD, POST,
PUT, PATCH and DELETE.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.access.paths import Path
from gateway.access.policy import REFUSED_METHODS, Policy

_OURS = "/.skpayments/"


@dataclass(frozen=True, slots=True)
class ClassRule:
    """`path` as it is matched literally, `folded` as it is matched in any case, both in normal form. With `within` it
    is met only by a path whose normal form in lower case holds that."""

    path: str
    folded: str
    methods: tuple[str, ...]
    within: str = ""

    def as_sent(self) -> dict[str, object]:
        """In JSON to those who keep answers."""
        within = {"within": self.within} if self.within else {}
        return {"path": self.path, "folded": self.folded, "methods": self.methods, **within}


def class_rules(policy: Policy) -> list[ClassRule]:
    """Everything that tells one request from another beside who asks, in a fixed order.

    The last two are our own: what is under paths of ours, and what is refused by its method alone. No answer to a
    request that meets one of them may be kept.
    """
    rules = [ClassRule(rule.path, rule.folded, tuple(sorted(rule.methods)), rule.within) for rule in policy.rules]
    return [*rules, ClassRule(_OURS, _OURS, ()), ClassRule("/", "/", tuple(sorted(REFUSED_METHODS)))]


def has_class(path: Path) -> bool:
    """Whether an answer to a request with this path goes for every other of its class: it has one reading, which is
    what stands there, and is none of ours. A refusal is never kept, so the refused methods need no look."""
    readings = path.readings or ()
    return path.literal is not None and len(readings) == 1 and not readings[0].startswith(_OURS)
