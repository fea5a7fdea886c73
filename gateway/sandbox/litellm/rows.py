"""The rows LiteLLM keeps, and each in the shapes of its answers, key for key as 1.106.2 sends them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sandbox.litellm.durations import text

Json = dict[str, object]


@dataclass
class Budget:
    """Limits that any number of customers share."""

    budget_id: str
    created_at: float
    updated_at: float
    max_budget: float | None = None
    soft_budget: float | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    budget_duration: str | None = None
    budget_reset_at: float | None = None

    def shared(self) -> Json:
        """The form in a customer's answer."""
        return {
            "budget_id": self.budget_id, "soft_budget": self.soft_budget, "max_budget": self.max_budget,
            "max_parallel_requests": self.max_parallel_requests, "tpm_limit": self.tpm_limit,
            "rpm_limit": self.rpm_limit, "tpd_limit": None, "model_max_budget": None,
            "budget_duration": self.budget_duration, "allowed_models": [], "temp_budget_increase": None,
            "temp_budget_expiry": None, "budget_reset_at": text(self.budget_reset_at),
            "created_at": text(self.created_at),
        }  # fmt: skip

    def answer(self) -> Json:
        """As /budget/new, /budget/update and /budget/info answer it."""
        relations = (
            "organization", "projects", "keys", "end_users", "tags", "model_access_groups", "team_membership",
            "organization_membership",
        )  # fmt: skip
        return {
            **self.shared(),
            "created_by": "default_user_id",
            "updated_at": text(self.updated_at),
            "updated_by": "default_user_id",
            **dict.fromkeys(relations),
        }


@dataclass
class Customer:
    """An end user of a shared key."""

    user_id: str
    budget_id: str | None = None
    models: list[str] = field(default_factory=list)
    alias: str | None = None
    blocked: bool = False
    spend: float = 0.0
    default_model: str | None = None
    allowed_model_region: str | None = None

    def answer(self, budget: Budget | None) -> Json:
        return {
            "user_id": self.user_id, "blocked": self.blocked, "alias": self.alias, "spend": self.spend,
            "allowed_model_region": self.allowed_model_region, "default_model": self.default_model,
            "models": list(self.models), "budget_id": self.budget_id,
            "litellm_budget_table": budget.shared() if budget else None, "object_permission_id": None,
            "object_permission": None,
        }  # fmt: skip


@dataclass
class User:
    """An internal user, with keys of their own."""

    user_id: str
    created_at: float
    updated_at: float
    user_email: str | None = None
    user_alias: str | None = None
    user_role: str | None = None
    max_budget: float | None = None
    budget_duration: str | None = None
    budget_reset_at: float | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    max_parallel_requests: int | None = None
    models: list[str] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    spend: float = 0.0

    def row(self) -> Json:
        """As /user/update answers it under `data`."""
        return {
            "verified_subjects": None, "user_id": self.user_id, "user_alias": self.user_alias, "team_id": None,
            "sso_user_id": None, "organization_id": None, "object_permission_id": None, "password_reset_required": None,
            "last_breach_check_at": None, "teams": [], "user_role": self.user_role, "max_budget": self.max_budget,
            "spend": self.spend, "user_email": self.user_email, "models": list(self.models),
            "metadata": dict(self.metadata), "max_parallel_requests": self.max_parallel_requests,
            "tpm_limit": self.tpm_limit, "rpm_limit": self.rpm_limit, "budget_duration": self.budget_duration,
            "budget_reset_at": text(self.budget_reset_at), "allowed_cache_controls": [], "policies": [],
            "model_spend": {}, "model_max_budget": {}, "created_at": text(self.created_at),
            "updated_at": text(self.updated_at), "litellm_organization_table": None, "organization_memberships": None,
            "invitations_created": None, "invitations_updated": None, "invitations_user": None,
            "object_permission": None,
        }  # fmt: skip

    def info(self) -> Json:
        """As /user/info answers it under `user_info`."""
        return {**self.row(), "organization_memberships": [], "model_max_budget_usage": {}}

    def short(self) -> Json:
        """As /v2/user/info answers it."""
        names = (
            "user_id", "user_email", "user_alias", "user_role", "spend", "max_budget", "tpm_limit", "rpm_limit",
            "models", "budget_duration", "budget_reset_at", "metadata", "created_at", "updated_at", "sso_user_id",
            "teams", "object_permission", "model_max_budget",
        )  # fmt: skip
        row = self.row()
        return {**{name: row[name] for name in names}, "model_max_budget_usage": {}}


@dataclass
class Key:
    """A virtual key: its owner and what it may call."""

    token: str
    user_id: str | None = None
    key_alias: str | None = None
    allowed_routes: list[str] = field(default_factory=list)
    end_user_budget_id: str | None = None
    max_budget: float | None = None
    budget_duration: str | None = None
    metadata: Json = field(default_factory=dict)
    spend: float = 0.0
    blocked: bool | None = None
    expires_at: float | None = None
    deleted_at: float | None = None

    def works(self, now: float) -> bool:
        return not self.blocked and (self.expires_at is None or self.expires_at > now)


_KEY_FIELDS = (
    "key_alias", "duration", "models", "spend", "max_budget", "user_id", "team_id", "agent_id", "max_parallel_requests",
    "metadata", "tpm_limit", "rpm_limit", "budget_duration", "budget_limits", "allowed_cache_controls", "config",
    "permissions", "model_max_budget", "budget_fallbacks", "model_rpm_limit", "model_tpm_limit", "mcp_rpm_limit",
    "tag_rpm_limit", "guardrails", "policies", "prompts", "blocked", "aliases", "object_permission", "key", "tpd_limit",
    "default_estimated_output_tokens", "default_estimated_output_tokens_per_model", "budget_id", "end_user_budget_id",
    "tags", "disable_global_guardrails", "enable_prompt_caching", "throttle_on_budget_exceeded", "enforced_params",
    "allowed_routes", "allowed_passthrough_routes", "denied_passthrough_routes", "allowed_vector_store_indexes",
    "rpm_limit_type", "tpm_limit_type", "router_settings", "access_group_ids", "key_name", "key_type", "expires",
    "token_id", "organization_id", "project_id", "litellm_budget_table", "token", "created_by", "updated_by",
    "created_at", "updated_at",
)  # fmt: skip
_NEVER_NULL: Json = {
    "spend": 0.0, "allowed_cache_controls": [], "config": {}, "permissions": {}, "aliases": {}, "allowed_routes": [],
    "models": [], "metadata": {},
}  # fmt: skip


def key_answer(key: Key) -> Json:
    """As /key/generate answers."""
    return {
        **dict.fromkeys(_KEY_FIELDS),
        **_NEVER_NULL,
        "user_id": key.user_id, "key_alias": key.key_alias, "allowed_routes": key.allowed_routes, "key": key.token,
        "key_name": f"sk-...{key.token[-4:]}", "max_budget": key.max_budget, "metadata": key.metadata,
    }  # fmt: skip


def key_info(key: Key, now: float) -> Json:
    """The `info` of /key/info, with the fields that are known."""
    status = "revoked" if key.blocked else "active" if key.works(now) else "expired"
    deleted = {} if key.deleted_at is None else {"deleted_at": text(key.deleted_at), "deleted_by": "default_user_id"}
    return {
        "key_name": f"sk-...{key.token[-4:]}", "key_alias": key.key_alias, "spend": key.spend, "user_id": key.user_id,
        "expires": text(key.expires_at), "blocked": key.blocked, "max_budget": key.max_budget,
        "allowed_routes": key.allowed_routes, "metadata": key.metadata, **deleted,
        "status": "deleted" if deleted else status,
    }  # fmt: skip


def new_user_answer(user: User, token: str) -> Json:
    """As /user/new answers: a key's fields, and the user's in their places. `token` is "" without a key."""
    of_user = ("user_email", "user_role", "teams", "user_alias")
    known = {name: value for name, value in user.row().items() if name in _KEY_FIELDS and value is not None}
    return {
        **dict.fromkeys((*_KEY_FIELDS, *of_user)),
        **_NEVER_NULL,
        **known,
        "model_max_budget": None,
        "policies": None,
        "user_email": user.user_email,
        "user_role": user.user_role,
        "user_alias": user.user_alias,
        "key": token,
        "created_at": None,
        "updated_at": None,
    }
