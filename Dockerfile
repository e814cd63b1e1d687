# The proxy:   docker build --target proxy -t sse-kms-proxy .
# MinIO:       docker build --target minio -t minio-from-source .     (its own image is no longer published)
# Both, with settings: config/compose.yaml

FROM golang:1.26-bookworm AS minio-build
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags=-s \
    github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM debian:bookworm-slim AS minio
RUN useradd --system --uid 10002 --create-home --home-dir /var/lib/minio minio
COPY --from=minio-build /out/minio /usr/local/bin/minio
USER minio
VOLUME /var/lib/minio
EXPOSE 9000
ENV MINIO_BROWSER=off MINIO_UPDATE=off
ENTRYPOINT ["minio"]
CMD ["server", "--quiet", "--address", ":9000", "/var/lib/minio"]

FROM python:3.13-slim-bookworm AS proxy-build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY proxy proxy
RUN python -m venv /opt/sse-kms-proxy \
    && /opt/sse-kms-proxy/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim-bookworm AS proxy
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/sse-kms-proxy sse-kms-proxy
COPY --from=proxy-build /opt/sse-kms-proxy /opt/sse-kms-proxy
COPY config/minio.toml /etc/sse-kms-proxy/proxy.toml
ENV PATH=/opt/sse-kms-proxy/bin:$PATH PYTHONUNBUFFERED=1
USER sse-kms-proxy
VOLUME /var/lib/sse-kms-proxy
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/-/health', timeout=2)"]
ENTRYPOINT ["sse-kms-proxy"]
CMD ["serve", "--config", "/etc/sse-kms-proxy/proxy.toml"]
