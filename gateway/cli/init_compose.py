"""The answers of `skpay init` → docker-compose.yml, the .env that goes with it, and LiteLLM's config.yaml. Pure.

SKPayments reads its secrets from files of one mounted folder; the others get theirs from .env, which compose reads.
Every option is one that `docker stack` takes as well.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping

from gateway.cli.init_catalog import COMMON_MODELS, PAID_MODELS, Answers

_HEAD = """\
# Written by skpay init, once: it is yours to change.
#
#   docker compose up -d        reads .env beside this file, which holds secrets and has mode 600
#
# `docker stack` reads the shell's environment only, so before it: set -a; . ./.env; set +a

x-always: &always
  restart_policy: {condition: any}

services:
"""

_TRAEFIK = """\
  traefik:
    # Its configuration is traefik/traefik.yml; the routes are traefik/dynamic/skpayments.yml, of skpay routes write.
    image: traefik:${TRAEFIK_TAG:-v3.7.15}
    environment:
      # The same as secrets/gate_secret: without it the gate refuses every request.
      GATE_SECRET: ${GATE_SECRET:?see .env}
    ports: ["@PORT@:@PORT@"]
    volumes:
      - ./traefik:/etc/traefik:ro
      - {type: bind, source: @PLUGIN@, target: /plugins-local, read_only: true}
@ACME@    networks: [proxy]
    deploy: *always
"""

_SKPAYMENTS = """\
  skpayments:
    image: ghcr.io/open-webui/open-webui:${OPEN_WEBUI_TAG:-0.12.4}-slim
    # The image does not contain SKPayments: it runs from the mounted code. With an image built from our Dockerfile,
    # remove that mount.
    command: ["python", "-m", "gateway", "serve"]
    working_dir: /skpayments
    # It stops within ten seconds; by default Docker would kill it after ten.
    stop_grace_period: 20s
    environment:
      PUBLIC_URL: https://${PUBLIC_HOST:?see .env}
      # No port is published: Traefik reaches both over the network, and no other client may reach GATE_PORT.
      PORT: "8080"
      GATE_PORT: "8081"
      APPS_FILE: /skpayments/apps.json
      DATABASE_URL: sqlite:////data/skpayments.db
      STRIPE_SECRET_KEY_FILE: /run/secrets/stripe_secret_key
      STRIPE_WEBHOOK_SECRET_FILE: /run/secrets/stripe_webhook_secret
      GATE_SECRET_FILE: /run/secrets/gate_secret
      ADMIN_TOKEN_FILE: /run/secrets/admin_token
@LITELLM@      PYTHONPATH: /opt/skpayments
      PYTHONDONTWRITEBYTECODE: "1"
    volumes:
      # Folders, not files: a mounted file would keep its old content after an editor has replaced it.
      - .:/skpayments:ro
      # Without the secrets of the other services: LiteLLM's master key, the database's password.
      - /dev/null:/skpayments/.env:ro
      # `skpay routes write` writes here.
      - ./traefik:/skpayments/traefik
      # The secret of an app that is added later is a new file here; no restart is needed.
      - ./secrets:/run/secrets:ro
      - {type: bind, source: @CODE@, target: /opt/skpayments/gateway, read_only: true}
      # SQLite's WAL does not work on NFS or SMB: use a local volume.
      - skpayments:/data
    networks: [@NETWORKS@]
    deploy:
      # One instance per database: a second one refuses to start, so the old one stops first.
      replicas: 1
      update_config: {order: stop-first}
      <<: *always
"""

_OPEN_WEBUI = """\
  open-webui:
    # Nothing here leads past the gate: no port is published, and Traefik knows it by our routes only.
    image: ghcr.io/open-webui/open-webui:${OPEN_WEBUI_TAG:-0.12.4}
    environment:
      WEBUI_URL: https://@HOST@
      # The same as secrets/webui_secret_key: the gate verifies Open WebUI's sessions with it.
      WEBUI_SECRET_KEY: ${WEBUI_SECRET_KEY:?see .env}
      # A link to what can be bought, above every chat. Open WebUI reads this at its first start only; later it is in
      # Admin Panel > Settings > Interface > Banners.
      WEBUI_BANNERS: '@BANNER@'
      ENABLE_OLLAMA_API: "false"
@MODELS@    volumes:
      - open-webui:/app/backend/data
    networks: [@NETWORKS@]
    deploy: *always
"""

_LITELLM = """\
  litellm:
    image: ghcr.io/berriai/litellm:${LITELLM_TAG:-main-stable}
    command: ["--config", "/etc/litellm/config.yaml", "--port", "4000"]
    # No port is published: a client with the shared key can act as any user.
    environment:
      DATABASE_URL: postgresql://litellm:${POSTGRES_PASSWORD:?see .env}@postgres:5432/litellm
      LITELLM_MASTER_KEY: ${LITELLM_MASTER_KEY:?see .env}
      # Encrypts what LiteLLM keeps in its database; it can never be changed.
      LITELLM_SALT_KEY: ${LITELLM_SALT_KEY:?see .env}
      # For keys.py: the values of the two keys that it makes.
      SKPAYMENTS_KEY: ${LITELLM_KEY:?see .env}
      LITELLM_SHARED_KEY: ${LITELLM_SHARED_KEY:?see .env}
      # Your provider's key; config.yaml names it.
      OPENAI_API_KEY: ${OPENAI_API_KEY:-}
    volumes:
      - ./litellm:/etc/litellm:ro
    depends_on: [postgres]
    networks: [models, database]
    deploy: *always
  postgres:
    image: postgres:17
    environment:
      POSTGRES_USER: litellm
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?see .env}
      POSTGRES_DB: litellm
    volumes:
      - postgres:/var/lib/postgresql/data
    networks: [database]
    deploy: *always
"""

_WITH_LITELLM = """\
      LITELLM_URL: {url}
      LITELLM_KEY_FILE: /run/secrets/litellm_key
"""

_MODELS = """\
      # The header that tells LiteLLM the user of a call. Without it no user's limits are enforced.
      ENABLE_FORWARD_USER_INFO_HEADERS: "true"
      # Every user sees every model; LiteLLM refuses those that the tier lacks.
      BYPASS_MODEL_ACCESS_CONTROL: "true"
      OPENAI_API_BASE_URLS: &url {url}/v1
      OPENAI_API_KEYS: &key ${{LITELLM_SHARED_KEY:?see .env}}
      RAG_EMBEDDING_ENGINE: openai
      RAG_OPENAI_API_BASE_URL: *url
      RAG_OPENAI_API_KEY: *key
      RAG_EMBEDDING_MODEL: embedding
      # Chunks of a document in one call. Its default of 1 is a call for each chunk, and the user's rate limit is gone.
      RAG_EMBEDDING_BATCH_SIZE: "64"
      AUDIO_TTS_ENGINE: openai
      AUDIO_TTS_OPENAI_API_BASE_URL: *url
      AUDIO_TTS_OPENAI_API_KEY: *key
      AUDIO_TTS_MODEL: speech
      AUDIO_STT_ENGINE: openai
      AUDIO_STT_OPENAI_API_BASE_URL: *url
      AUDIO_STT_OPENAI_API_KEY: *key
      AUDIO_STT_MODEL: transcription
      ENABLE_IMAGE_GENERATION: "true"
      IMAGE_GENERATION_ENGINE: openai
      IMAGES_OPENAI_API_BASE_URL: *url
      IMAGES_OPENAI_API_KEY: *key
      IMAGE_GENERATION_MODEL: image
"""

_LITELLM_CONFIG = """\
# Written by skpay init, once: it is yours to change. LiteLLM reads it when it starts.
model_list:
  # Put your provider's models here. The names are those of limits.models in apps.json and of Open WebUI's settings.
@MODELS@
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  # Which header says whose call it is. `customer` is enforced; without this nothing is limited, and nothing says so.
  user_header_mappings:
    - {header_name: X-OpenWebUI-User-Id, litellm_user_role: customer}

litellm_settings:
  # Limits users that LiteLLM does not know yet.
  max_end_user_budget_id: @APP@.free
  drop_params: true
"""
_PROVIDER_MODELS = {
    "small": "gpt-5-mini",
    "large": "gpt-5",
    "image": "gpt-image-1",
    "embedding": "text-embedding-3-small",
    "speech": "tts-1",
    "transcription": "whisper-1",
}


def compose_text(answers: Answers, mounts: tuple[str, str]) -> str:
    """`mounts`: the paths of the code and the plugin for the Docker engine."""
    code, plugin = (json.dumps(path.replace("$", "$$"), ensure_ascii=False) for path in mounts)
    services = [
        _filled(
            _TRAEFIK,
            PORT="443" if answers.acme_email else "80",
            PLUGIN=plugin,
            ACME="      - acme:/acme\n" if answers.acme_email else "",
        ),
        _filled(
            _SKPAYMENTS,
            CODE=code,
            LITELLM=_WITH_LITELLM.format(url=answers.litellm_url) if answers.litellm_url else "",
            NETWORKS="proxy, models" if answers.litellm_here else "proxy",
        ),
    ]
    if answers.identity is None:
        services.append(_open_webui(answers))
    if answers.litellm_here:
        services.append(_LITELLM)
    networks = ["proxy", *(["models", "database"] if answers.litellm_here else [])]
    return "\n".join(
        [_HEAD + services[0], *services[1:], _named("volumes", _volumes(answers)), _named("networks", networks)]
    )


def _open_webui(answers: Answers) -> str:
    banner = {
        "id": "upgrade",
        "type": "info",
        "title": "",
        "content": "[Plans and upgrades](/.skpayments/upgrade)",
        "dismissible": True,
        "timestamp": 1,
    }
    return _filled(
        _OPEN_WEBUI,
        HOST=answers.host,
        BANNER=json.dumps([banner]),
        MODELS=_MODELS.format(url=answers.litellm_url) if answers.litellm_url else "",
        NETWORKS="proxy, models" if answers.litellm_here else "proxy",
    )


def _volumes(answers: Answers) -> list[str]:
    names = {
        "skpayments": True,
        "open-webui": answers.identity is None,
        "postgres": answers.litellm_here,
        "acme": bool(answers.acme_email),
    }
    return [name for name, expected in names.items() if expected]


def env_text(answers: Answers, values: Mapping[str, str]) -> str:
    """The variables of docker-compose.yml."""
    lines = [
        "# Written by skpay init. It holds secrets: keep it to yourself, and out of git.",
        "# Where browsers and Stripe reach SKPayments.",
        f"PUBLIC_HOST={answers.pay_host}",
        *_variables(answers, values),
    ]
    return "\n".join(lines) + "\n"


def _variables(answers: Answers, values: Mapping[str, str]) -> Iterator[str]:
    yield f"GATE_SECRET={values['gate_secret']}"
    if answers.identity is None:
        yield f"WEBUI_SECRET_KEY={values['webui_secret_key']}"
    if answers.litellm_here:
        yield "# Your models' provider: see litellm/config.yaml."
        yield "OPENAI_API_KEY="
        for name in ("LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "LITELLM_KEY", "POSTGRES_PASSWORD"):
            yield f"{name}={values[name.lower()]}"
    if answers.litellm_url:
        yield "# The key by which the app calls LiteLLM, shared by all of its users."
        yield f"LITELLM_SHARED_KEY={values['litellm_shared_key']}"


def litellm_text(answers: Answers) -> str:
    """LiteLLM's config.yaml, with one model for each name that apps.json and Open WebUI use."""
    models = [
        f"  - model_name: {name}\n"
        f"    litellm_params: {{model: openai/{_PROVIDER_MODELS[name]}, api_key: os.environ/OPENAI_API_KEY}}\n"
        for name in (*COMMON_MODELS, *PAID_MODELS)
    ]
    return _filled(_LITELLM_CONFIG, MODELS="".join(models), APP=answers.app_id)


def _filled(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def _named(kind: str, names: list[str]) -> str:
    return f"{kind}:\n" + textwrap.indent("".join(f"{name}: {{}}\n" for name in names), "  ")
