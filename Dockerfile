# The server's image, for any Debian base with Python 3.11 or newer: torch includes its CUDA libraries.
#
#   docker build -t ltx2-server .                                                  for NVIDIA GPUs, driver 580 or newer
#   docker build -t ltx2-server:cpu --target cpu --build-arg TORCH_INDEX=URL .     without CUDA, a third of the size
#
# TORCH_INDEX   a pip index with another build of torch: for CPUs, or for CUDA 12.8 with drivers from 525 on.
#               pytorch.org/get-started names them. By default torch comes from PyPI, for CUDA 13.
# BASE          another base image, such as rayproject/ray:2.60.0-py311
# VERSION, REVISION   for the labels
#
# To use your own pip configuration without storing it in the image: --secret id=pip.conf,src=pip.conf
ARG BASE=python:3.11-slim-bookworm

# A separate stage for the names of the dependencies: a new version of the server, or another change in pyproject.toml,
# does not install the dependencies again.
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

# Only the server's own code, installed as it will be in the image.
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
# The folders exist before the volumes, so that volumes belong to the user. OpenShift's users are in group 0.
# Other users cannot enter the data folder: a volume that Docker creates gets the mode of its folder.
# No setuid programs: without sudo and su nobody becomes root, even without no-new-privileges.
RUN (getent passwd 1000 >/dev/null || useradd --uid 1000 --gid 100 --no-create-home ltx2) \
    && mkdir -p /srv/ltx2/data/cache /tmp/ray \
    && chown -R 1000:0 /srv/ltx2 /tmp/ray \
    && chmod -R g=u /srv/ltx2 /tmp/ray \
    && chmod -R o= /srv/ltx2/data \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# Two layers: several GB of dependencies that rarely change between releases, and about 2 MB of the server's code.
COPY --from=dependencies /opt/ltx2 /opt/ltx2
COPY --from=code /code/opt/ltx2 /opt/ltx2
WORKDIR /srv/ltx2
COPY LICENSE serve_config.yaml ./

ENV PATH=/opt/ltx2/bin:$PATH HOME=/srv/ltx2 PYTHONUNBUFFERED=1
# The variables of ray.env, for Ray in every container of this image; a test compares them.
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
# Tasks, videos and, in data/cache, the model of 68 GB, which can have a volume of its own.
VOLUME /srv/ltx2/data
EXPOSE 8004
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8004/health', timeout=4)"]
# The same as `make run`. On Kubernetes KubeRay replaces this command.
CMD ["python", "-m", "deployments.cli.launcher", "serve_config.yaml"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ltx2-server" \
      org.opencontainers.image.description="LTX-2 behind an API on your own GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# For containers without a GPU: the head and the CPU workers of a cluster, and the tiny model.
FROM server AS cpu
RUN python -c "import importlib.metadata, sys; \
sys.exit('+cpu' not in importlib.metadata.version('torch') \
    and 'the target cpu wants --build-arg TORCH_INDEX=URL, the index of torch for CPUs')"

FROM server AS gpu
# The driver parts that NVIDIA's container runtime mounts, and the folder where GKE's device plugin mounts the driver.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
