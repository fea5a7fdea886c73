# SKPayments on the Open WebUI image, which has Python and every library: nothing is installed.
#   docker build -t skpayments .
ARG OPEN_WEBUI_TAG=0.12.4-slim
FROM ghcr.io/open-webui/open-webui:${OPEN_WEBUI_TAG}
COPY gateway /opt/skpayments/gateway
COPY apps.json apps.schema.json docker-compose.yml /opt/skpayments/
COPY traefik/plugins-local /opt/skpayments/traefik/plugins-local
COPY --chmod=755 docker-skpay.sh /usr/local/bin/skpay
ENV PYTHONPATH=/opt/skpayments PYTHONDONTWRITEBYTECODE=1
# apps.json and what skpay routes write writes.
WORKDIR /skpayments
# The image's own HEALTHCHECK asks /health of PORT.
ENV PORT=8080
CMD ["skpay", "serve"]
