# Two images from one file: `api` (no torch in it) and `worker`.
#   docker build --target api -t expunge-api .
#   docker build --target worker -t expunge-worker .

FROM python:3.11-slim AS build-api
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
# Wheels first and an environment made from them alone: what is installed is what was pinned, and nothing that built it stays.
RUN python -m pip wheel --constraint constraints.txt --wheel-dir /wheels . \
    && python -m venv /opt/expunge \
    && /opt/expunge/bin/pip install --no-index --find-links /wheels expunge \
    && /opt/expunge/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim AS build-worker
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
RUN python -m pip wheel --constraint constraints.txt --wheel-dir /wheels '.[worker]' \
    && python -m venv /opt/expunge \
    && /opt/expunge/bin/pip install --no-index --find-links /wheels 'expunge[worker]' \
    && /opt/expunge/bin/pip uninstall --yes pip

# What both run on: a user without rights, and a folder that is theirs for the volume to start from.
FROM python:3.11-slim AS base
ENV PATH=/opt/expunge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 EXPUNGE_DATA_DIR=/var/lib/expunge
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/expunge --create-home expunge \
    && install --directory --owner expunge --group expunge /srv/datasets
WORKDIR /var/lib/expunge
VOLUME /var/lib/expunge
USER 10001:10001

FROM base AS worker
COPY --from=build-worker /opt/expunge /opt/expunge
CMD ["celery", "-A", "worker.celery_app", "worker", "-P", "prefork", "-c", "1", "-Q", "gpu", "-n", "gpu0@%h", \
     "--without-gossip", "--without-mingle", "--without-heartbeat"]

FROM base AS api
COPY --from=build-api /opt/expunge /opt/expunge
ENV EXPUNGE_HOST=0.0.0.0 EXPUNGE_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import os, urllib.request; \
urllib.request.urlopen('http://127.0.0.1:' + os.environ['EXPUNGE_PORT'] + '/livez', timeout=2)"]
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8080", \
     "--limit-concurrency", "256", "--backlog", "512", "--timeout-keep-alive", "5", "--timeout-graceful-shutdown", "25", \
     "--h11-max-incomplete-event-size", "16384", "--limit-max-requests", "20000", "--limit-max-requests-jitter", "2000", \
     "--no-server-header", "--no-access-log"]
