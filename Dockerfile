# The server in one image, for CPUs and GPUs. Build it in one of these ways:
#
#   docker build -t ltx2-server .                                       on the official Ray image
#   docker build -t ltx2-server --build-arg CUDA=-cu128 .               on its CUDA variant: compilers and CUDA tools come with it
#   docker build -t ltx2-server --build-arg BASE=python:3.11-slim .     on any Debian with Python 3.11 or newer and its venv
#
# torch brings its own CUDA libraries, so every one of them works on a GPU. Without one, a third of the size:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# A pip configuration of your own, which stays out of the image: --secret id=pip.conf,src=pip.conf
ARG CUDA=
ARG BASE=docker.io/rayproject/ray:2.60.0-py311${CUDA}

FROM ${BASE} AS build
USER root
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
# The dependencies first: a change of our code alone leaves this layer as it is.
COPY pyproject.toml constraints.txt README.md ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/ltx2 \
    && /opt/ltx2/bin/python -m pip install --no-cache-dir -c constraints.txt '.[server]'
COPY deployments deployments
COPY ltx2_client ltx2_client
COPY models models
COPY storage storage
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/ltx2/bin/python -m pip install --no-cache-dir --no-deps --force-reinstall . \
    && rm -rf build

FROM ${BASE}
USER root
# KubeRay starts Ray in a login shell, and Debian's /etc/profile forgets the PATH of the image: hence profile.d.
# The folders exist before the volumes, so that those belong to the user.
RUN (getent passwd 1000 >/dev/null || useradd --uid 1000 --gid 100 --no-create-home ltx2) \
    && echo 'PATH=/opt/ltx2/bin:$PATH' > /etc/profile.d/ltx2.sh \
    && mkdir -p /srv/ltx2/data/cache /tmp/ray \
    && chown -R 1000:100 /srv/ltx2 /tmp/ray
COPY --from=build /opt/ltx2 /opt/ltx2
WORKDIR /srv/ltx2
COPY serve_config.yaml ./

ENV PATH=/opt/ltx2/bin:$PATH HOME=/srv/ltx2 PYTHONUNBUFFERED=1
# ray.env, for Ray in every container of this image; a test compares them.
ENV RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=1 \
    RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S=2 \
    RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S=0.2 \
    RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S=0.5 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=1 \
    RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S=120 \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    FORWARDED_ALLOW_IPS="" \
    RAY_USAGE_STATS_ENABLED=0
# The container runtime of NVIDIA reads these on every base.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER 1000:100
# Tasks, videos and, in data/cache, the model: 68 GB that may have a volume of their own.
VOLUME /srv/ltx2/data
EXPOSE 8004
# `serve run` drains on SIGINT and dies at once on SIGTERM.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8004/health', timeout=4)"]
# What `make run` does. On Kubernetes KubeRay puts its own command in the place of this one.
CMD ["/bin/sh", "-c", "export RAY_ADDRESS=local; python -m deployments.preflight serve_config.yaml && exec serve run serve_config.yaml"]
