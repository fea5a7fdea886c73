"""Writes a user's limits to LiteLLM, reads the answer back and reports the differences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import aiohttp

from gateway.catalog.model import Limits
from gateway.errors import UpstreamFailed
from gateway.litellm import limit_fields
from gateway.litellm.enforcement import EnforcementProof, probe_enforcement, probe_id
from gateway.litellm.ids import check_litellm_id
from gateway.litellm.keys import KeyHolder, holder
from gateway.litellm.limit_fields import LimitsComparison, Provisioned
from gateway.litellm.wire import Wire
from gateway.settings import Secret

_MAX_LIST_BYTES = 64 * 1024 * 1024
_PROBE_USER = "skpayments-doctor"
_PROBE_BUDGET = "skpay-doctor"  # no budget of a tier: those have a dot in their id
_NO_REQUESTS = Limits(rpm_limit=0)
_INVALID_BODY = {"user_id": _PROBE_USER, "budget_id": _PROBE_USER, "max_budget": "none", "user_ids": "none"}
_ROUTE_PROBES: tuple[tuple[str, str, Mapping[str, object]], ...] = (
    ("GET", "/v2/user/info", {"user_id": _PROBE_USER}),
    ("GET", "/user/info", {"user_id": _PROBE_USER}),
    ("POST", "/user/update", _INVALID_BODY),
    ("POST", "/user/delete", _INVALID_BODY),
    ("GET", "/key/info", {"key": _PROBE_USER}),
    ("GET", "/customer/info", {"end_user_id": _PROBE_USER}),
    ("GET", "/customer/list", {}),
    ("POST", "/customer/new", _INVALID_BODY),
    ("POST", "/customer/update", _INVALID_BODY),
    ("POST", "/customer/delete", _INVALID_BODY),
    ("POST", "/budget/info", {"budgets": "none"}),
    ("POST", "/budget/new", _INVALID_BODY),
    ("POST", "/budget/update", _INVALID_BODY),
)


class LiteLLM:
    """LiteLLM's admin API, bound to its address and key.

    Needs a key that may call /user/update, /user/info, /v2/user/info, /customer/new, /customer/update, /customer/info,
    /budget/new, /budget/update and /budget/info (the master key, or one of a proxy admin with these `allowed_routes`).
    Every method raises `UpstreamFailed` and is idempotent. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        keys: tuple[Secret, ...],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wire = Wire(session, base_url, keys)
        self._clock = clock

    async def ping(self) -> None:
        """Return if LiteLLM is up and has its database; raise `UpstreamFailed` (retryable) if not. Needs no key."""
        answer = await self._wire.call_without_key("/health/readiness")
        if not answer.ok or answer.row.get("db") != "connected":
            raise UpstreamFailed(
                "LiteLLM is not ready.", status=answer.status, detail=f"db: {str(answer.row.get('db'))[:40]}"
            )

    async def check_key(self) -> None:
        """Return if the key may read budgets; raise `UpstreamFailed` if not. Changes nothing."""
        await self._budget(_PROBE_USER)

    async def denied_routes(self) -> tuple[str, ...]:
        """The required routes that the key may not call. Changes nothing: each request is invalid, and LiteLLM checks
        the key's rights before the request."""
        return tuple([path for method, path, body in _ROUTE_PROBES if await self._is_denied(method, path, body)])

    async def _is_denied(self, method: str, path: str, body: Mapping[str, object]) -> bool:
        query = {str(name): str(value) for name, value in body.items()} if method == "GET" else None
        try:
            await self._wire.call(method, path, body=None if query else body or None, query=query)
        except UpstreamFailed as exc:
            if exc.status in (401, 403):
                return True
            # A list that is too long to be read was permitted, too.
            if exc.status is None or exc.status >= 500:
                raise
        return False

    async def provision_internal_user(
        self,
        litellm_id: str,
        limits: Limits,
        *,
        previous_budget_duration: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Provisioned:
        """Give an internal user these limits, creating it if need be; effective with its next call.

        `previous_budget_duration` is the one written last, None if unknown; an unchanged one is not sent.
        `metadata` is merged into the user's own: LiteLLM replaces the whole object, and other programs keep keys in it.
        """
        check_litellm_id(litellm_id)
        return await self._provision_internal_user(litellm_id, limits, previous_budget_duration, metadata)

    async def _provision_internal_user(
        self,
        litellm_id: str,
        limits: Limits,
        previous_budget_duration: str | None,
        metadata: Mapping[str, object] | None,
    ) -> Provisioned:
        expected = limit_fields.user_fields(limits)
        body = {"user_id": litellm_id, **expected}
        if metadata or previous_budget_duration != limits.budget_duration:
            row = await self._user(litellm_id)
            body = self._without_reset_race(body, row)
            if metadata:
                kept = row.get("metadata")
                body["metadata"] = {**(kept if isinstance(kept, dict) else {}), **metadata}
        else:
            del body["budget_duration"]
        answer = await self._update_user(body)
        missing = limit_fields.mismatches(expected, answer)
        if missing:
            retry_body = self._without_reset_race(
                {"user_id": litellm_id, **limit_fields.without_nulls(missing)}, answer
            )
            answer = await self._update_user(retry_body)
            missing = limit_fields.mismatches(expected, answer)
        return Provisioned(limit_fields.user_answer(answer), limit_fields.mismatch_lines(missing, answer))

    async def provision_customer(self, litellm_id: str, budget_id: str, limits: Limits) -> Provisioned:
        """Put a customer (end user) on a budget that all customers of the tier share; effective with its next call.

        The budget is created or corrected first. A customer is never sent a limit of its own: LiteLLM would write it
        into the shared budget, for all customers.
        """
        check_litellm_id(litellm_id)
        return await self._provision_customer(litellm_id, budget_id, limits)

    async def _provision_customer(self, litellm_id: str, budget_id: str, limits: Limits) -> Provisioned:
        budget = await self.ensure_budget(budget_id, limits)
        expected: dict[str, object] = {"budget_id": budget_id, "models": limit_fields.model_names(limits)}
        body = {"user_id": litellm_id, **expected}
        answer = await self._wire.call("POST", "/customer/update", body=body, expect=(404,))
        if answer.status == 404:
            answer = await self._wire.call("POST", "/customer/new", body=body, expect=(400,))
        if answer.status == 400:
            # Created in between by another request; a 400 for any other reason is refused here, too.
            answer = await self._wire.call("POST", "/customer/update", body=body)
        row = _row_with_id(answer.row, "user_id", litellm_id, "/customer/update")
        missing = limit_fields.mismatches(expected, row)
        return Provisioned(
            limit_fields.customer_answer(row, budget.answer),
            budget.differences + limit_fields.mismatch_lines(missing, row),
            budget.budget_changed,
        )

    async def ensure_budget(self, budget_id: str, limits: Limits) -> Provisioned:
        """Write these limits to the budget that a tier's customers share, where they differ."""
        check_litellm_id(budget_id)
        expected = limit_fields.budget_fields(limits)
        found = await self._budget(budget_id)
        row = found if found is not None else await self._create_budget(budget_id, expected)
        changed = found is None
        missing = limit_fields.mismatches(expected, row)
        if missing:
            row = await self._update_budget(budget_id, missing, row)
            missing, changed = limit_fields.mismatches(expected, row), True
        if missing:
            row = await self._update_budget(budget_id, limit_fields.without_nulls(missing), row)
            missing = limit_fields.mismatches(expected, row)
        return Provisioned(limit_fields.budget_answer(row), limit_fields.mismatch_lines(missing, row), changed)

    async def compare_internal_user(self, litellm_id: str, limits: Limits) -> LimitsComparison | None:
        """An internal user at LiteLLM compared with these limits; None if there is none. Nothing is written."""
        row = await self._user(litellm_id)
        return (
            limit_fields.compare(limit_fields.user_fields(limits), row, limit_fields.user_answer(row)) if row else None
        )

    async def compare_budget(self, budget_id: str, limits: Limits) -> LimitsComparison | None:
        """A budget at LiteLLM compared with these limits; None if there is none. Nothing is written."""
        row = await self._budget(budget_id)
        return (
            None
            if row is None
            else limit_fields.compare(limit_fields.budget_fields(limits), row, limit_fields.budget_answer(row))
        )

    async def compare_customer(self, litellm_id: str, budget_id: str, limits: Limits) -> LimitsComparison | None:
        """A customer at LiteLLM compared with this budget and these limits; None if there is none.

        Nothing is written.
        """
        answer = await self._wire.call("GET", "/customer/info", query={"end_user_id": litellm_id}, expect=(404,))
        if answer.status == 404:
            return None
        row = _row_with_id(answer.row, "user_id", litellm_id, "/customer/info")
        budget = row.get("litellm_budget_table")
        found = budget if isinstance(budget, dict) else {}
        expected = {
            "budget_id": budget_id,
            "models": limit_fields.model_names(limits),
            **limit_fields.budget_fields(limits),
        }
        # A customer's answer has the limits in its budget only; the id of the budget is in both.
        merged = {**found, "budget_id": row.get("budget_id"), "models": row.get("models")}
        return limit_fields.compare(
            expected, merged, limit_fields.customer_answer(row, limit_fields.budget_answer(found))
        )

    async def spending_customers(self) -> list[str]:
        """The id of every customer with spend at LiteLLM; '' for calls that named no user.

        LiteLLM does not page this list: up to 64 MiB of it are read, some 100 000 customers. Needs a key that may
        call /customer/list too.
        """
        answer = await self._wire.call("GET", "/customer/list", max_bytes=_MAX_LIST_BYTES)
        rows = answer.body if isinstance(answer.body, list) else []
        return [
            str(row.get("user_id") or "")
            for row in rows
            if isinstance(row, dict) and isinstance(row.get("spend"), int | float) and row["spend"] > 0
        ]

    async def key_holder(self, key_hash: str) -> KeyHolder | None:
        """The owner of the virtual key with this SHA-256 (hex), which is LiteLLM's id of it; None if it does not work.

        Needs a key that may call /key/info too.
        """
        answer = await self._wire.call("GET", "/key/info", query={"key": key_hash}, expect=(404,))
        info = answer.row.get("info")
        if answer.ok and not isinstance(info, dict):
            raise _unusable("/key/info")
        return holder(info, self._clock()) if isinstance(info, dict) else None

    async def prove_enforcement(
        self, app_id: str, mode: str, keys: tuple[Secret, ...], user_header: str
    ) -> EnforcementProof:
        """Whether LiteLLM refuses a call of a user whose rate limit is 0, made with the app's shared `keys`.

        The user is made for this test and stays at LiteLLM. `internal_user`: LiteLLM enforces an internal user's
        limits only for keys of that user.
        """
        own_id = probe_id(app_id)
        if mode == "customer":
            await self._provision_customer(own_id, _PROBE_BUDGET, _NO_REQUESTS)
        else:
            await self._provision_internal_user(own_id, _NO_REQUESTS, None, None)
        if not keys:
            return EnforcementProof("unproven", "no key is set")
        return await probe_enforcement(self._wire.with_keys(keys), user_header, own_id)

    async def delete_user(self, mode: str, litellm_id: str) -> None:
        """Delete a `customer` or `internal_user`; not an error if there is none.

        Needs a key that may call /customer/delete and /user/delete too.
        """
        check_litellm_id(litellm_id)
        path = "/customer/delete" if mode == "customer" else "/user/delete"
        await self._wire.call("POST", path, body={"user_ids": [litellm_id]}, expect=(404,))

    async def _user(self, litellm_id: str) -> Mapping[str, object]:
        """The user's row, empty if there is none. Old versions lack the newer route: 404 as well."""
        query = {"user_id": litellm_id}
        answer = await self._wire.call("GET", "/v2/user/info", query=query, expect=(404,))
        row: object = answer.row
        if answer.status == 404:
            answer = await self._wire.call("GET", "/user/info", query=query, expect=(404,))
            # 1.80 answers 200 for an unknown user, with a row without a user id.
            row = answer.row.get("user_info")
        return row if isinstance(row, dict) and row.get("user_id") == litellm_id else {}

    async def _update_user(self, body: Mapping[str, object]) -> Mapping[str, object]:
        answer = await self._wire.call("POST", "/user/update", body=body)
        return _row_with_id(answer.row.get("data"), "user_id", body["user_id"], "/user/update")

    def _without_reset_race(self, body: dict[str, object], row: Mapping[str, object]) -> dict[str, object]:
        """`body` without a budget_duration that LiteLLM has already; with the spend reset if LiteLLM's job is late."""
        if row.get("budget_duration") == body.get("budget_duration"):
            return {name: value for name, value in body.items() if name != "budget_duration"}
        if "budget_duration" in body and limit_fields.reset_is_due(row, self._clock()):
            return {**body, "spend": 0}
        return body

    async def _budget(self, budget_id: str) -> Mapping[str, object] | None:
        answer = await self._wire.call("POST", "/budget/info", body={"budgets": [budget_id]})
        if not isinstance(answer.body, list):
            raise _unusable("/budget/info")
        for row in answer.body:
            if isinstance(row, dict) and row.get("budget_id") == budget_id:
                return row
        return None

    async def _create_budget(self, budget_id: str, expected: Mapping[str, object]) -> Mapping[str, object]:
        body = {"budget_id": budget_id, **expected}
        answer = await self._wire.call("POST", "/budget/new", body=body, expect=(400,))
        if answer.ok:
            return _row_with_id(answer.row, "budget_id", budget_id, "/budget/new")
        found = await self._budget(budget_id)
        if found is None:
            raise self._wire.error_from("/budget/new", answer)
        return found

    async def _update_budget(
        self, budget_id: str, missing: Mapping[str, object], row: Mapping[str, object]
    ) -> Mapping[str, object]:
        body = {"budget_id": budget_id, **missing}
        if "budget_duration" in missing and limit_fields.reset_is_due(row, self._clock()):
            # LiteLLM would move the reset a whole period on and not reset the spend.
            body["budget_reset_at"] = row["budget_reset_at"]
        answer = await self._wire.call("POST", "/budget/update", body=body)
        if answer.body is None:
            # 200 null: deleted since it was read.
            kept = {name: row.get(name) for name in ("max_budget", "budget_duration", "tpm_limit", "rpm_limit")}
            return await self._create_budget(budget_id, {**kept, **missing})
        return _row_with_id(answer.row, "budget_id", budget_id, "/budget/update")


def _row_with_id(row: object, name: str, expected: object, path: str) -> Mapping[str, object]:
    if not isinstance(row, dict) or row.get(name) != expected:
        raise _unusable(path)
    return row


def _unusable(path: str) -> UpstreamFailed:
    return UpstreamFailed("LiteLLM's answer is not what this route answers.", status=200, detail=path)
