"""The renderings as they are written, word for word, and what cloudflared would refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from routing_apps import PUBLIC_URL, apps_json, catalog
from servers.found import require

from gateway.catalog import parse
from gateway.catalog.model import Provider
from gateway.routing import (
    FORMATS,
    cloudflared,
    compose_fragment,
    dns_records,
    docker_labels,
    files_of,
    ingress_problems,
    plan,
    swarm_labels,
    traefik_file,
)

FILE = """\
# Written by skpay routes write from apps.json: edit that instead.
http:
  routers:
    sk-app-blog:
      rule: Host(`blog.example.com`)
      entryPoints:
      - websecure
      middlewares:
      - sk-in
      - sk-host-blog
      - sk-gate-blog
      service: sk-app-blog
      priority: 1000
      tls:
        certResolver: letsencrypt
    sk-arrived-blog:
      rule: Path(`/.skpayments/arrived`) && Host(`blog.example.com`)
      entryPoints:
      - websecure
      middlewares:
      - sk-in
      - sk-host-blog
      - sk-gate-blog
      service: sk-public
      priority: 1001
      tls:
        certResolver: letsencrypt
    sk-public:
      rule: Host(`pay.example.com`)
      entryPoints:
      - websecure
      middlewares:
      - sk-public-rate
      - sk-public-body
      service: sk-public
      priority: 1000
      tls:
        certResolver: letsencrypt
  middlewares:
    sk-in:
      headers:
        customRequestHeaders:
          X-SK-Gate: '{{ env "GATE_SECRET" }}'
          X-Forwarded-Uri: ''
          X-Forwarded-Method: ''
          X-Forwarded-Prefix: ''
        customResponseHeaders:
          Cloudflare-CDN-Cache-Control: no-store
    sk-gate-blog:
      forwardAuth:
        address: http://skpayments:8081/gate?app=blog
        trustForwardHeader: false
        preserveLocationHeader: true
        maxResponseBodySize: 65536
        authRequestHeaders:
        - Authorization
        - Accept
        - Origin
        - Sec-Fetch-Mode
        - Access-Control-Request-Method
        - X-SK-Gate
        authResponseHeadersRegex: (?i)^x([^a-z0-9]*sk[^a-z0-9]|[^a-z0-9]*(original|rewrite)[^a-z0-9]*ur[il]|(|[^a-z0-9-][^a-z0-9]*|-[^a-z0-9]+)forwarded[^a-z0-9]|-forwarded([^a-z0-9-]|-[^a-z0-9]|-.*(--|[^a-z0-9-])))
    sk-host-blog:
      headers:
        customRequestHeaders:
          X-Forwarded-Host: blog.example.com
    sk-public-rate:
      rateLimit:
        average: 100
        burst: 200
        period: 1s
        sourceCriterion:
          ipStrategy:
            ipv6Subnet: 64
    sk-public-body:
      buffering:
        maxRequestBodyBytes: 2097152
  services:
    sk-app-blog:
      loadBalancer:
        servers:
        - url: http://blog:3000
    sk-public:
      loadBalancer:
        servers:
        - url: http://skpayments:8080
"""  # noqa: E501  # one line of Traefik's


def test_the_file_word_for_word() -> None:
    routing = {"entry_points": ["websecure"], "cert_resolver": "letsencrypt"}
    assert traefik_file(plan(catalog(**routing), PUBLIC_URL)) == FILE


def test_the_secret_is_a_reference_in_every_rendering() -> None:
    routes = plan(catalog(), PUBLIC_URL)
    assert "X-SK-Gate: '{{ env \"GATE_SECRET\" }}'" in traefik_file(routes)
    for labels in (docker_labels(routes, "blog"), swarm_labels(routes, "blog")):
        assert labels["traefik.http.middlewares.sk-in-blog.headers.customRequestHeaders.X-SK-Gate"] == "${GATE_SECRET}"
    assert '"X-SK-Gate": "********"' in files_of(routes, "http")["http/skpayments.json"]


def test_labels_name_the_port_and_the_network() -> None:
    routes = plan(catalog(network="edge"), PUBLIC_URL)
    docker, swarm = docker_labels(routes, "blog"), swarm_labels(routes, "blog")
    assert docker["traefik.docker.network"] == swarm["traefik.swarm.network"] == "edge"
    assert "traefik.swarm.network" not in docker
    for labels in (docker, swarm):
        assert labels["traefik.enable"] == "true"
        assert labels["traefik.http.services.sk-app-blog.loadBalancer.server.port"] == "3000"


def test_labels_of_a_service_with_tls_say_so() -> None:
    labels = docker_labels(plan(catalog(public_service_url="https://skpayments"), PUBLIC_URL), None)
    assert labels["traefik.http.services.sk-public.loadBalancer.server.port"] == "443"
    assert labels["traefik.http.services.sk-public.loadBalancer.server.scheme"] == "https"


def test_our_own_labels_hold_nothing_of_the_apps() -> None:
    labels = docker_labels(plan(catalog(), PUBLIC_URL), None)
    assert labels["traefik.http.routers.sk-public.rule"] == "Host(`pay.example.com`)"
    assert labels["traefik.http.services.sk-public.loadBalancer.server.port"] == "8080"
    assert not any("blog" in text or "SECRET" in text for pair in labels.items() for text in pair)


def test_a_fragment_has_the_labels_that_the_provider_needs() -> None:
    routes = plan(catalog(), PUBLIC_URL)
    tunnel = {
        "dockflare.enable": "true",
        "dockflare.0.hostname": "blog.example.com",
        "dockflare.0.service": "http://traefik:80",
    }
    tags: dict[Provider, dict[str, object]] = {
        "docker": {"labels": {**docker_labels(routes, "blog"), **tunnel}},
        "swarm": {"deploy": {"labels": {**swarm_labels(routes, "blog"), **tunnel}}},
        # T39: the routes come from elsewhere, and Traefik must not make one of its own for the container.
        "file": {"labels": {"traefik.enable": "false", **tunnel},
                 "deploy": {"labels": {"traefik.enable": "false", **tunnel}}},
        "http": {"labels": {"traefik.enable": "false", **tunnel},
                 "deploy": {"labels": {"traefik.enable": "false", **tunnel}}},
    }  # fmt: skip
    for provider, options in tags.items():
        document = yaml.safe_load(compose_fragment(routes, "blog", provider))
        assert document["services"] == {"blog": {**options, "networks": ["proxy"]}}
        assert document["networks"] == {"proxy": {"external": True}}


def test_no_container_of_an_app_with_tier_upstreams_gets_a_default_router() -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"])]))
    tree["apps"][0]["upstream"] = {"default": "http://blog:3000", "pro": "http://fast:3000", "vip": "http://fast:3001"}
    tree["apps"][0]["tiers"] = [{"id": tier, "name": tier} for tier in ("free", "pro", "vip")]
    routes = plan(parse(json.dumps(tree).encode()), PUBLIC_URL)
    services = yaml.safe_load(compose_fragment(routes, "blog", "http"))["services"]
    assert list(services) == ["blog", "fast"]
    assert "dockflare.enable" in services["blog"]["labels"]
    assert services["fast"]["labels"] == services["fast"]["deploy"]["labels"] == {"traefik.enable": "false"}


def test_every_format_has_files_of_its_own() -> None:
    routes = plan(catalog(), PUBLIC_URL)
    places = {name: list(files_of(routes, name)) for name in FORMATS}
    assert places == {
        "file": ["dynamic/skpayments.yml"],
        "http": ["http/skpayments.json"],
        "compose": ["labels/blog.yml", "labels/_skpayments.yml"],
        "docker": ["docker/blog.yml", "docker/_skpayments.yml"],
        "swarm": ["swarm/blog.yml", "swarm/_skpayments.yml"],
        "cloudflared": ["cloudflared/config.yml"],
        "cloudflare": ["cloudflare/configuration.json"],
        "dns": ["cloudflare/dns.json"],
        "dockflare": ["dockflare/blog.yml", "dockflare/_skpayments.yml"],
        "cloudflare-tunnel": ["cloudflare-tunnel/blog.yml", "cloudflare-tunnel/_skpayments.yml"],
        "static": ["traefik.yml", "dynamic/entry-point.yml"],
    }


def test_an_app_called_as_we_are_has_a_file_of_its_own() -> None:
    routes = plan(parse(apps_json([("skpayments", ["a.example.com"])])), PUBLIC_URL)
    assert list(files_of(routes, "compose")) == ["labels/skpayments.yml", "labels/_skpayments.yml"]


def test_the_records_and_ingress_rules_for_cloudflare() -> None:
    routes = plan(catalog(), PUBLIC_URL)
    to_traefik = [
        {"hostname": host, "service": "http://traefik:80"} for host in ("blog.example.com", "pay.example.com")
    ]
    assert json.loads(files_of(routes, "cloudflare")["cloudflare/configuration.json"]) == {
        "config": {"ingress": [*to_traefik, {"service": "http_status:404"}]}
    }
    records = [
        {"type": "CNAME", "name": host, "content": "c1744f8b.cfargotunnel.com", "proxied": True}
        for host in ("blog.example.com", "pay.example.com")
    ]
    assert dns_records(routes, "c1744f8b") == records
    assert json.loads(files_of(routes, "dns", "c1744f8b")["cloudflare/dns.json"]) == records
    assert "TUNNEL-ID.cfargotunnel.com" in files_of(routes, "dns")["cloudflare/dns.json"]


def test_dockflare_has_the_words_of_both_its_ages() -> None:
    for name, prefix in (("dockflare", "dockflare"), ("cloudflare-tunnel", "cloudflare.tunnel")):
        text = files_of(plan(catalog("a.example.com", "b.example.com"), PUBLIC_URL), name)[f"{name}/blog.yml"]
        labels = {
            f"{prefix}.enable": "true",
            f"{prefix}.0.hostname": "a.example.com",
            f"{prefix}.0.service": "http://traefik:80",
            f"{prefix}.1.hostname": "b.example.com",
            f"{prefix}.1.service": "http://traefik:80",
        }
        assert yaml.safe_load(text) == {"services": {"blog": {"labels": labels, "deploy": {"labels": labels}}}}


def test_cloudflareds_configuration_names_the_tunnel_if_given() -> None:
    document = yaml.safe_load(cloudflared(plan(catalog(), PUBLIC_URL), "8b6c"))
    assert document["tunnel"] == "8b6c"
    assert document["credentials-file"] == "/etc/cloudflared/8b6c.json"


LAST = {"service": "http_status:404"}
FINE = {"hostname": "a.example", "service": "http://traefik:80"}


@pytest.mark.parametrize(
    ("rules", "problems"),
    [
        ([LAST], []),
        ([FINE, LAST], []),
        ([{**FINE, "hostname": "*.example", "path": "^/api(/|$)"}, {"hostname": "*", "service": "hello_world"}], []),
        ([{**FINE, "service": "unix:/run/a.sock"}, {**FINE, "service": "tcp://a:22"}, LAST], []),
        ([], ["ingress: expected a list with at least the catch-all rule"]),
        (None, ["ingress: expected a list with at least the catch-all rule"]),
        ([FINE], ["ingress[0]: the last rule must match every request: no hostname and no path"]),
        ([LAST, LAST], ["ingress[0]: matches every request, so the rules after it would never be used"]),
        ([{**FINE, "hostname": "a:80"}, LAST], ["ingress[0]: a hostname has no port"]),
        ([{**FINE, "hostname": "a.*"}, LAST], ["ingress[0]: a hostname has one * at most, as its first character"]),
        ([{**FINE, "hostname": "**"}, LAST], ["ingress[0]: a hostname has one * at most, as its first character"]),
        ([{**FINE, "path": "("}, LAST], ["ingress[0]: the path is no regular expression of Go's"]),
        ([{**FINE, "service": "traefik:80"}, LAST], ["ingress[0]: the service is no URL with a scheme and a host"]),
        ([{**FINE, "service": "http://[a"}, LAST], ["ingress[0]: the service is no URL with a scheme and a host"]),
        ([{**FINE, "service": "http://traefik/x"}, LAST], ["ingress[0]: the service's URL has a path"]),
        ([FINE, {"service": "http_status:1000"}], ["ingress[1]: the service is no URL with a scheme and a host"]),
        ([FINE, {"service": 404}], ["ingress[1]: expected texts as hostname, path and service"]),
        (["x", LAST], ["ingress[0]: expected an object"]),
        (
            [{**FINE, "originRequest": {"access": {"audTag": ["x"]}}}, LAST],
            ["ingress[0]: access.audTag needs access.teamName"],
        ),
    ],
)
def test_what_cloudflared_would_refuse(rules: object, problems: list[str]) -> None:
    assert ingress_problems(rules) == problems


def test_cloudflared_itself_takes_our_rules(tmp_path: Path) -> None:
    """Never required, even where all else is: no package carries the program."""
    program = shutil.which("cloudflared")
    if program is None:
        pytest.skip("cloudflared is not on the PATH; get it from Cloudflare to have it read our rules")
    config = tmp_path / "config.yml"
    config.write_text(cloudflared(plan(catalog("a.example.com"), PUBLIC_URL), "8b6c"), encoding="utf-8")
    command = [program, "tunnel", "--config", str(config), "ingress", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "OK" in done.stdout + done.stderr) == (0, True), done.stdout + done.stderr


def test_the_docker_client_takes_the_fragment_and_fills_in_the_secret() -> None:
    """`docker stack config` needs no engine. Compose reads the same file by the same rules."""
    docker = require("docker")
    document = yaml.safe_load(compose_fragment(plan(catalog(), PUBLIC_URL), "blog", "swarm"))
    document["services"]["blog"]["image"] = "blog"
    document["version"] = "3.8"
    done = subprocess.run(
        [docker, "stack", "config", "-c", "-"],
        input=yaml.safe_dump(document).encode(),
        env={**os.environ, "GATE_SECRET": "the secret"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    labels = yaml.safe_load(done.stdout)["services"]["blog"]["deploy"]["labels"]
    assert labels["traefik.http.middlewares.sk-in-blog.headers.customRequestHeaders.X-SK-Gate"] == "the secret"
    assert labels["traefik.http.routers.sk-app-blog.rule"] == "Host(`blog.example.com`)"
