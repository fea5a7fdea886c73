"""T23: both modes on one LiteLLM are dangerous together, and valid only if each app accepts them."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import parse
from gateway.errors import ConfigError

ROOT = Path(__file__).parents[2]


def _two_apps(*litellm: dict[str, Any]) -> bytes:
    raw = json.loads((ROOT / "apps.json").read_text(encoding="utf-8"))
    apps = []
    for number, mode in enumerate(litellm):
        app = json.loads(json.dumps(raw["apps"][0]))
        app.update({"id": f"app{number}", "hosts": [f"app{number}.example.com"], "litellm": mode})
        app["api_key"], app["identity"] = f"env:KEY_{number}", [{"kind": "user_key"}]
        app["tiers"] = [app["tiers"][0]]
        app["routes"] = []
        apps.append(app)
    return json.dumps({"apps": apps}).encode()


CUSTOMER, OWN_KEYS = {"mode": "customer"}, {"mode": "internal_user"}


def test_t23_both_modes_on_one_litellm_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(_two_apps(CUSTOMER, OWN_KEYS))
    (problem,) = caught.value.problems
    assert problem.startswith("apps.json: apps[1].litellm.mode: both modes on one LiteLLM")
    assert '"mixed_modes": true' in problem


@pytest.mark.parametrize("first", [True, False])
def test_t23_one_apps_word_is_not_enough(first: bool) -> None:
    with pytest.raises(ConfigError):
        parse(_two_apps({**CUSTOMER, "mixed_modes": first}, {**OWN_KEYS, "mixed_modes": not first}))


def test_t23_both_modes_are_valid_where_each_app_accepts_them() -> None:
    assert len(parse(_two_apps({**CUSTOMER, "mixed_modes": True}, {**OWN_KEYS, "mixed_modes": True})).apps) == 2
