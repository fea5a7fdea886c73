"""What the sandbox LiteLLM remembers, and what differs between LiteLLM's versions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.sandbox.litellm.durations import reset_at
from gateway.sandbox.litellm.rows import Budget, Customer, Key, User

CUSTOMER_CACHE_SECONDS = 60
RESET_JOB_SECONDS = 600
_NULL_RESETS_SINCE = {
    "max_budget": (1, 82),
    "budget_duration": (1, 103),
    "tpm_limit": (1, 106),
    "rpm_limit": (1, 106),
}


@dataclass(frozen=True)
class Version:
    """The behaviour of a version of LiteLLM, as far as recorded."""

    number: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        return cls(tuple(int(part) for part in text.split(".")))

    def null_resets(self, name: str) -> bool:
        """Whether null on /user/update lifts this limit; where not it is ignored."""
        since = _NULL_RESETS_SINCE.get(name)
        return since is not None and self.number >= since

    @property
    def old(self) -> bool:
        """1.80 and 1.81: duplicates and rubbish durations pass, over budget is 400, an unknown user has a row."""
        return self.number < (1, 82)


@dataclass
class Window:
    """Calls and tokens in the minute that began with the first of them."""

    began_at: float
    calls: int = 0
    tokens: int = 0


@dataclass
class State:
    """All rows, the clock, and the two things that make LiteLLM lag: its cache and its reset job."""

    master_key: str
    version: Version
    clock: Callable[[], float]
    prices: dict[str, float]
    header_role: str
    default_budget_id: str | None = None
    users: dict[str, User] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    deleted_keys: list[Key] = field(default_factory=list)
    windows: dict[str, Window] = field(default_factory=dict)
    reset_job_at: float = 0.0
    _cached: dict[str, tuple[float, Customer, Budget | None]] = field(default_factory=dict)

    def forget_customer(self, user_id: str) -> None:
        """What /customer/new and /customer/update do to the cache; /budget/update does not."""
        self._cached.pop(user_id, None)

    def customer_as_cached(self, user_id: str) -> tuple[Customer, Budget | None] | None:
        """The customer and its budget from the cache of chat calls: up to 60 s old."""
        now = self.clock()
        kept = self._cached.get(user_id)
        if kept and kept[0] > now:
            return kept[1], kept[2]
        customer = self.customers.get(user_id)
        if customer is None:
            return None
        budget = copy.copy(self.budgets.get(customer.budget_id or ""))
        self._cached[user_id] = (now + CUSTOMER_CACHE_SECONDS, customer, budget)
        return customer, budget

    def window(self, name: str) -> Window:
        """The running minute of a user or customer."""
        now = self.clock()
        window = self.windows.get(name)
        if window is None or now >= window.began_at + 60:
            window = self.windows[name] = Window(now)
        return window

    def run_reset_job_if_due(self) -> None:
        """LiteLLM's own job, about every ten minutes; a budget's end is noticed only then."""
        now = self.clock()
        if self.reset_job_at and now < self.reset_job_at:
            return
        self.reset_job_at = now + RESET_JOB_SECONDS
        self.run_reset_job()

    def run_reset_job(self) -> None:
        """Set the spend back wherever budget_reset_at is over."""
        now = self.clock()
        for user in self.users.values():
            if user.budget_reset_at is not None and user.budget_reset_at <= now and user.budget_duration:
                user.spend, user.budget_reset_at = 0.0, reset_at(user.budget_duration, now)
        for budget in self.budgets.values():
            if budget.budget_reset_at is None or budget.budget_reset_at > now or not budget.budget_duration:
                continue
            budget.budget_reset_at = reset_at(budget.budget_duration, now)
            for customer in self.customers.values():
                if customer.budget_id == budget.budget_id:
                    customer.spend = 0.0
