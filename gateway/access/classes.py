"""Request classes: requests of one user in one class get the same decision, so a cache keeps one per class. Pure.

The class of a request is the set of conditions it meets: for each rule whose `methods` are empty or contain the method,
whether its normal form starts with `path`, and whether its normal form in lower case starts with `folded`. Only plain
paths have a class, since they have one reading: at most 2048 of the characters `A-Za-z0-9_~!$&'()*+,=:@.-` and slashes,
no part empty and none ending in a dot. Requests with any other path, or with another method than GET, HEAD, POST, PUT,
PATCH and DELETE, must not be answered from a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.access.paths import Path
from gateway.access.policy import REFUSED_METHODS, Policy

_OURS = "/.skpayments/"


@dataclass(frozen=True, slots=True)
class ClassRule:
    """`path` is matched case-sensitively, `folded` in any case, both in normal form. With `within`, the path's normal
    form in lower case must contain that as well."""

    path: str
    folded: str
    methods: tuple[str, ...]
    within: str = ""

    def as_sent(self) -> dict[str, object]:
        """The rule as JSON, as caches receive it."""
        within = {"within": self.within} if self.within else {}
        return {"path": self.path, "folded": self.folded, "methods": self.methods, **within}


def class_rules(policy: Policy) -> list[ClassRule]:
    """All conditions on which a decision depends apart from the user, in a fixed order.

    The last two are our own: our paths, and methods that are always refused. Answers to requests that meet one of them
    must not be cached.
    """
    rules = [ClassRule(rule.path, rule.folded, tuple(sorted(rule.methods)), rule.within) for rule in policy.rules]
    return [*rules, ClassRule(_OURS, _OURS, ()), ClassRule("/", "/", tuple(sorted(REFUSED_METHODS)))]


def has_class(path: Path) -> bool:
    """Whether the answer to this path applies to its whole class: the path has one reading, the literal one, and is
    not one of ours. Refusals are never cached, so the refused methods need no check."""
    readings = path.readings or ()
    return path.literal is not None and len(readings) == 1 and not readings[0].startswith(_OURS)
