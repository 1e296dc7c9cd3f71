# The server in an image, on any Debian with Python 3.11 or newer: torch brings its own CUDA libraries.
#
#   docker build -t ltx2-server .                                                  for NVIDIA GPUs, driver 580 or newer
#   docker build -t ltx2-server:cpu --target cpu --build-arg TORCH_INDEX=URL .     without CUDA, a third of the size
#
# TORCH_INDEX   an index for pip with another build of torch: the one for CPUs, or the one for CUDA 12.8, for drivers
#               from 525 on. pytorch.org/get-started names them. Without it torch is PyPI's, for CUDA 13.
# BASE          another base, such as rayproject/ray:2.60.0-py311
# VERSION, REVISION   for the labels
#
# A pip configuration of your own, which stays out of the image: --secret id=pip.conf,src=pip.conf
ARG BASE=python:3.11-slim-bookworm

# The names of what the server depends on, apart: neither another version of ours nor another line of pyproject.toml
# installs the dependencies again.
FROM ${BASE} AS requirements
WORKDIR /build
COPY pyproject.toml ./
RUN python3 -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
names = [*project['dependencies'], *project['optional-dependencies']['server']]; \
open('requirements.txt', 'w').write('\\n'.join(names) + '\\n')"

FROM ${BASE} AS dependencies
ARG TORCH_INDEX
WORKDIR /build
COPY --from=requirements /build/requirements.txt ./
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/ltx2 \
    && /opt/ltx2/bin/python -m pip install -c constraints.txt -r requirements.txt \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"}

# Our code, installed as it will lie in the image, and nothing else.
FROM ${BASE} AS code
RUN python3 -m venv /opt/ltx2
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY deployments deployments
COPY ltx2_client ltx2_client
COPY models models
COPY storage storage
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/ltx2/bin/python -m pip install --no-deps --root /code .

FROM ${BASE} AS server
# The folders exist before the volumes, so that those belong to the user; the group 0 is that of OpenShift's users.
# Nobody else enters the data: a volume that Docker makes takes the mode of its folder, too.
# No program gains rights: without sudo and su, root stays out of reach also where nobody says no-new-privileges.
RUN (getent passwd 1000 >/dev/null || useradd --uid 1000 --gid 100 --no-create-home ltx2) \
    && mkdir -p /srv/ltx2/data/cache /tmp/ray \
    && chown -R 1000:0 /srv/ltx2 /tmp/ray \
    && chmod -R g=u /srv/ltx2 /tmp/ray \
    && chmod -R o= /srv/ltx2/data \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# Two layers: the dependencies, several GB that stay as they are from release to release, and our code, about 2 MB.
COPY --from=dependencies /opt/ltx2 /opt/ltx2
COPY --from=code /code/opt/ltx2 /opt/ltx2
WORKDIR /srv/ltx2
COPY LICENSE serve_config.yaml ./

ENV PATH=/opt/ltx2/bin:$PATH HOME=/srv/ltx2 PYTHONUNBUFFERED=1
# ray.env, for Ray in every container of this image; a test compares them.
ENV RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=1 \
    RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S=2 \
    RAY_SERVE_SLOW_STARTUP_WARNING_S=180 \
    RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S=0.2 \
    RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S=0.5 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=1 \
    RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S=120 \
    RAY_SERVE_HAPROXY_TUNE_BUFSIZE=65536 \
    RAY_SERVE_HAPROXY_METRICS_ENABLED=0 \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    FORWARDED_ALLOW_IPS="" \
    PYTORCH_ALLOC_CONF=expandable_segments:True \
    RAY_USAGE_STATS_ENABLED=0

USER 1000:100
# Tasks, videos and, in data/cache, the model: 68 GB that may have a volume of their own.
VOLUME /srv/ltx2/data
EXPOSE 8004
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8004/health', timeout=4)"]
# What `make run` does. On Kubernetes KubeRay puts its own command in the place of this one.
CMD ["python", "-m", "deployments.cli.launcher", "serve_config.yaml"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ltx2-server" \
      org.opencontainers.image.description="LTX-2 behind an API on your own GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# For whatever renders nothing: the head and the CPU workers of a cluster, and the tiny model.
FROM server AS cpu
RUN python -c "import importlib.metadata, sys; \
sys.exit('+cpu' not in importlib.metadata.version('torch') \
    and 'the target cpu wants --build-arg TORCH_INDEX=URL, the index of torch for CPUs')"

FROM server AS gpu
# Which parts of the driver the container runtime of NVIDIA mounts, and where GKE's device plugin mounts all of it.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
