"""The environment variables that Ray reads on its nodes, before any of our code runs.

`ray.env` sets them for `make run`, the container and Kubernetes. A server started by hand works without them; the log
and /health then list what each missing variable costs.
"""

import os
import sys
from pathlib import Path

EXPECTED_VARIABLES = {
    "RAY_SERVE_ENABLE_HA_PROXY": "requests go through Ray's Python proxy, at a quarter of the rate",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "a lost proxy is noticed after 23 s instead of 6",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "a lost proxy is noticed after 23 s instead of 6",
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "a restarted head kills replicas that need 30 s to find it",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "a Generator starts from zero up to 3 s later",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "a Generator starts from zero up to 3 s later",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "a stop takes 30 s",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "a silent client keeps its connection for an hour",
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "over 15 kB of headers, such as other apps' cookies on localhost, get a 400",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "requests with made-up HTTP methods add metrics without limit",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "each slow download holds its whole file in memory",
    "FORWARDED_ALLOW_IPS": "with HAProxy, the server trusts X-Forwarded-Proto from any client",
}
"""Each variable, and the effect when it is not set."""
LINUX_ONLY = "RAY_SERVE_ENABLE_HA_PROXY"


def missing_variables() -> list[str]:
    """One sentence for each expected variable that is not set in this process."""
    wanted = {name: cost for name, cost in EXPECTED_VARIABLES.items() if sys.platform == "linux" or name != LINUX_ONLY}
    return [f"{name} is not set: {cost} (ray.env sets it)" for name, cost in wanted.items() if name not in os.environ]


def read_ray_env(file: Path) -> dict[str, str]:
    """Read the variables of `ray.env`. Empty when the file is missing, as in the image, where they are set already."""
    lines = file.read_text().splitlines() if file.is_file() else []
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}
