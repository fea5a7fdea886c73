#!/usr/bin/env bash
# The real Open WebUI with its own page, slim dependency set, SQLite; from the package registries only.
#   ./run_openwebui.sh install   one-off: venv with the packages of the slim image
#   ./run_openwebui.sh start     start it on 127.0.0.1:$PORT and wait until it answers
#   ./run_openwebui.sh stop      stop it; a RUN folder of its own is removed
# env: ROOT (default: /var/tmp/skpayments-openwebui) PORT OPENWEBUI_VERSION LITELLM_URL LITELLM_KEY SECRET
#      RUN (default: ROOT) holds pid, log and data: one folder for each run at the same time
set -euo pipefail
ROOT=${ROOT:-/var/tmp/skpayments-openwebui}; RUN=${RUN:-$ROOT}; PORT=${PORT:-8088}
VERSION=${OPENWEBUI_VERSION:-0.12.4}
export PATH=$ROOT/venv/bin:/usr/local/bin:/usr/bin:/bin

case ${1:-} in
install)
  [ -f "$ROOT/.installed-$VERSION" ] && { echo already installed; exit 0; }
  rm -rf "$ROOT/venv"; mkdir -p "$ROOT"
  python3 -m venv "$ROOT/venv"; "$ROOT/venv/bin/pip" install -q uv
  # The list of the slim image is in the source archive only; the wheel goes in without its own, larger list.
  INDEX=$("$ROOT/venv/bin/python" -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')
  SOURCE=$(curl -fsS "$INDEX/open-webui/" -H 'Accept: application/vnd.pypi.simple.v1+json' \
    | python3 -c "import json,sys; print([f['url'] for f in json.load(sys.stdin)['files'] if f['filename']=='open_webui-$VERSION.tar.gz'][0])")
  curl -fsS "$SOURCE" | tar xz -C "$ROOT" --strip-components=2 "open_webui-$VERSION/backend/requirements-slim.txt"
  uv pip install -q --python "$ROOT/venv/bin/python" -r "$ROOT/requirements-slim.txt"
  uv pip install -q --python "$ROOT/venv/bin/python" --no-deps "open-webui==$VERSION"
  touch "$ROOT/.installed-$VERSION"; echo installed ;;
start)
  mkdir -p "$RUN/data"
  export FROM_INIT_PY=true USE_SLIM_DOCKER=true DATA_DIR=$RUN/data WEBUI_SECRET_KEY=${SECRET:-secret-of-the-tests-of-32-bytes-and-more}
  export ENABLE_FORWARD_USER_INFO_HEADERS=true ENABLE_OLLAMA_API=false ENABLE_API_KEYS=true
  export OPENAI_API_BASE_URLS=${LITELLM_URL:-http://127.0.0.1:4100/v1} OPENAI_API_KEYS=${LITELLM_KEY:-sk-none}
  export BYPASS_MODEL_ACCESS_CONTROL=true DEFAULT_USER_ROLE=pending
  export WEBUI_ADMIN_EMAIL=admin@example.com WEBUI_ADMIN_PASSWORD=password-of-the-admin
  export HF_HUB_OFFLINE=1 OFFLINE_MODE=true DO_NOT_TRACK=true SCARF_NO_ANALYTICS=true ANONYMIZED_TELEMETRY=false
  cd "$RUN"; setsid nohup python -m uvicorn open_webui.main:app --host 127.0.0.1 --port "$PORT" > "$RUN/log" 2>&1 < /dev/null & echo $! > "$RUN/pid"
  for _ in $(seq 1 480); do
    curl -fs -m 2 "http://127.0.0.1:$PORT/health" >/dev/null && { echo "ready on $PORT pid $(cat "$RUN/pid")"; exit 0; }
    kill -0 "$(cat "$RUN/pid")" 2>/dev/null || { tail -20 "$RUN/log"; exit 1; }
    sleep 0.25
  done
  echo timeout; exit 1 ;;
stop)
  if [ -f "$RUN/pid" ]; then P=$(cat "$RUN/pid"); kill "$P" 2>/dev/null || true
    for _ in $(seq 1 40); do kill -0 "$P" 2>/dev/null || break; sleep 0.25; done; kill -9 -- "-$P" 2>/dev/null || true; rm -f "$RUN/pid"; fi
  [ "$RUN" = "$ROOT" ] || rm -rf "$RUN" ;;
*) sed -n 2,7p "$0"; exit 2 ;;
esac
