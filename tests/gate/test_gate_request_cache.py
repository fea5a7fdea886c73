"""Law: the request cache gives byte for byte the full parser's answer, or none."""

from __future__ import annotations

import asyncio

from access.access_samples import APP, with_app
from gate.gate_stage import head, raw, stage
from gate.mutated_requests import CarefulConnection, answered, differences

from gateway.catalog.values import header_name_problem
from gateway.gate.protocol import Connection
from gateway.gate.request_cache import SUFFIX_HEADERS

REQUESTS = 20_000


async def test_mutated_requests_get_the_full_parsers_answer() -> None:
    async with stage(APP, with_app(app_id="blog", hosts=("blog.example.com",))) as on:
        found = next(differences(on, REQUESTS, 1), None)
        assert found is None
        assert len(on.gate.request_cache) > 20  # the cache was used


async def same(remembered: list[bytes], datas: bytes) -> None:
    """After these requests the cache gives the full parser's answer to this one."""
    async with stage() as on:
        for data in remembered:
            answered(on, data, Connection)
        assert answered(on, datas, Connection) == answered(on, datas, CarefulConnection)


def test_a_path_header_in_small_letters_does_not_make_the_host_the_path() -> None:
    plain = raw(head(user="alice"))
    odd = raw(head(user="alice", uri="/static")).replace(b"X-Forwarded-Uri: ", b"x-forwarded-uri: ")
    asyncio.run(same([plain, odd], odd.replace(b"X-Forwarded-Host: chat.example.com", b"X-Forwarded-Host: /x")))


def test_a_path_header_without_a_blank_does_not_make_the_host_the_path() -> None:
    odd = raw(head(user="alice", uri="/static")).replace(b"X-Forwarded-Uri: ", b"X-Forwarded-Uri:")
    asyncio.run(same([raw(head(user="alice")), odd], odd.replace(b"Host: chat.example.com", b"Host: /x")))


def test_a_head_with_too_many_headers_is_refused_though_both_its_parts_are_cached() -> None:
    many = [("A", "b")] * 190  # and ten of Traefik's: the limit
    short = raw(head(more=many))
    long = raw([*head(more=many), ("X-Forwarded-Server", "t")])
    last = raw([*head(), ("X-Forwarded-Server", "t")])
    asyncio.run(same([short, last], long))


def test_no_credential_can_stand_in_a_header_of_the_suffix() -> None:
    assert [name for name in SUFFIX_HEADERS if not header_name_problem(name.decode())] == []
