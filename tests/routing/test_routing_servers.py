"""The real Traefik starts on ports of its own, twice at once, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers import found
from servers.traefik import Traefik

pytestmark = pytest.mark.needs_traefik

ONE_ROUTER = """
http:
  routers: {a: {rule: "Host(`a.test`)", service: a}}
  services: {a: {loadBalancer: {servers: [{url: "http://127.0.0.1:9"}]}}}
"""


async def test_two_run_at_once_and_end_by_their_own_id(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(ONE_ROUTER)
    async with Traefik(dynamic_dir=tmp_path) as one, Traefik() as two:
        routers = await one.until_routers("a@file")
        assert routers["a@file"]["status"] == "enabled"
        assert await one.errors() == 0
        assert await two.routers() == {}
        pids = [one.pid, two.pid]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_refused_static_configuration_is_reported_with_the_log() -> None:
    with pytest.raises(AssertionError, match="noSuchOption"):
        await Traefik({"entryPoints": {"web": {"noSuchOption": "1"}}}).__aenter__()


def test_a_missing_program_is_a_skip_and_where_all_are_required_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "find", lambda name: None)
    monkeypatch.delenv("SKPAY_TESTS_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install strace"):
        found.require("strace")
    monkeypatch.setenv("SKPAY_TESTS_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install strace"):
        found.require("strace")
