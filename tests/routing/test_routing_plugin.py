"""The gate by the plugin: `routing.gate` or `--gate` decides for all renderings."""

from __future__ import annotations

import json

import yaml
from routing_apps import PUBLIC_URL, apps_json, catalog
from servers.traefik import PLUGINS_DIR, WITH_PLUGIN

from gateway.catalog import parse
from gateway.routing import docker_labels, files_of, plan, swarm_labels, traefik_document, traefik_file

PLUGIN = """\
    sk-gate-blog:
      plugin:
        skpayments:
          gateUrl:
          - http://skpayments:8081
          app: blog
          secret: '{{ env "GATE_SECRET" }}'
          headers:
          - Authorization
"""


def test_the_file_has_the_plugin_in_the_place_of_forward_auth() -> None:
    text = traefik_file(plan(catalog(gate="plugin"), PUBLIC_URL))
    assert PLUGIN in text
    assert "forwardAuth" not in text


def test_no_other_middleware_sends_the_secret_on() -> None:
    """It would be one more header of ours in every request, which the plugin would have to remove."""
    http = traefik_document(plan(catalog(), PUBLIC_URL, "plugin"), "the secret")["http"]
    assert str(http).count("the secret") == 1
    assert http["middlewares"]["sk-in"]["headers"]["customRequestHeaders"]["X-Forwarded-Uri"] == ""
    assert http["routers"]["sk-app-blog"]["middlewares"] == ["sk-in", "sk-host-blog", "sk-gate-blog"]


def test_labels_say_the_same() -> None:
    routes = plan(catalog(), PUBLIC_URL, "plugin")
    for labels in (docker_labels(routes, "blog"), swarm_labels(routes, "blog")):
        here = "traefik.http.middlewares.sk-gate-blog.plugin.skpayments"
        assert {name.removeprefix(here): value for name, value in labels.items() if name.startswith(here)} == {
            ".gateUrl": "http://skpayments:8081",
            ".app": "blog",
            ".secret": "${GATE_SECRET}",
            ".headers": "Authorization",
        }
        assert sum("GATE_SECRET" in value for value in labels.values()) == 1


def test_the_plugin_gets_every_address_and_forward_auth_the_first() -> None:
    urls = ["http://gate-1:8081", "https://gate-2:8081/"]
    found = catalog(gate="plugin", gate_url=urls)
    options = traefik_document(plan(found, PUBLIC_URL), "s")["http"]["middlewares"]["sk-gate-blog"]["plugin"]
    assert options["skpayments"]["gateUrl"] == ["http://gate-1:8081", "https://gate-2:8081"]
    label = "traefik.http.middlewares.sk-gate-blog.plugin.skpayments.gateUrl"
    assert docker_labels(plan(found, PUBLIC_URL), "blog")[label] == "http://gate-1:8081,https://gate-2:8081"
    http = traefik_document(plan(found, PUBLIC_URL, "forward_auth"), "s")["http"]
    assert http["middlewares"]["sk-gate-blog"]["forwardAuth"]["address"] == "http://gate-1:8081/gate?app=blog"


def test_what_identifies_a_user_is_what_the_plugin_keys_its_answers_by() -> None:
    tree = json.loads(apps_json([("blog", ["blog.example.com"])], gate="plugin"))
    tree["apps"][0]["identity"] = [
        {"kind": "header", "name": "remote-user", "after": "authelia@file", "namespace": "sso"},
        {"kind": "openwebui", "secret": "env:A", "namespace": ""},
    ]
    http = traefik_document(plan(parse(json.dumps(tree).encode()), PUBLIC_URL), "s")["http"]
    options = http["middlewares"]["sk-gate-blog"]["plugin"]["skpayments"]
    assert options["headers"] == ["Remote-User", "Authorization", "Cookie", "X-Api-Key"]
    chain = ["sk-strip-blog", "authelia@file", "sk-in", "sk-host-blog", "sk-gate-blog"]
    assert http["routers"]["sk-app-blog"]["middlewares"] == chain


def test_the_option_goes_before_apps_json() -> None:
    assert plan(catalog(), PUBLIC_URL).routing.gate == "forward_auth"
    assert plan(catalog(gate="plugin"), PUBLIC_URL).routing.gate == "plugin"
    assert plan(catalog(gate="plugin"), PUBLIC_URL, "forward_auth").routing.gate == "forward_auth"


def test_traefiks_static_configuration_loads_the_plugin_or_offers_it() -> None:
    static = yaml.safe_load(files_of(plan(catalog(gate="plugin"), PUBLIC_URL), "static")["traefik.yml"])
    assert static["experimental"] == WITH_PLUGIN["experimental"]
    offered = files_of(plan(catalog(), PUBLIC_URL), "static")["traefik.yml"]
    assert yaml.safe_load(offered)["experimental"] == {"abortOnPluginFailure": True}
    taken_up = offered.replace("  # localPlugins", "  localPlugins")
    for line in ("  skpayments:", '    moduleName: "github.com/skpayments/gate"'):
        taken_up = taken_up.replace(f"  # {line}", f"  {line}")
    assert yaml.safe_load(taken_up)["experimental"] == WITH_PLUGIN["experimental"]
    flags = files_of(plan(catalog(gate="plugin", provider="http"), PUBLIC_URL), "static")["traefik-command.yml"]
    assert "--experimental.localPlugins.skpayments.moduleName=github.com/skpayments/gate" in flags


def test_the_plugin_is_in_the_folder_that_traefik_searches() -> None:
    (module,) = WITH_PLUGIN["experimental"]["localPlugins"].values()  # type: ignore[attr-defined]  # it is a dict
    manifest = PLUGINS_DIR / "plugins-local/src" / module["moduleName"] / ".traefik.yml"
    assert yaml.safe_load(manifest.read_text())["import"] == module["moduleName"]
