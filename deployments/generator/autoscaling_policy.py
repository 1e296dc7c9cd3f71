"""The autoscaling policy: how many Generators there should be. Serve's controller calls it several times a second.

Serve pickles this module by value and loads it in the controller, so it must not import modules of this project.
"""

import math
from typing import Any

SUPERSEDED = "superseded"
"""Name of the metric that a Generator reports: 1.0 when a newer server with the same model runs, else 0.0."""


class GeneratorPolicy:
    """One Generator per unfinished request, at least `min_replicas`. Scales down only after `idle_s` below the target.

    A superseded server keeps no Generators: each ends after its last task, regardless of `min_replicas`, so that the
    newer server gets the GPUs. Serve's own `min_replicas` stays 0. Otherwise an upgrade would wait forever for its
    first Generator while the older server holds all GPUs.
    """

    def __init__(self, min_replicas: int, idle_s: float) -> None:
        self._min_replicas = min_replicas
        self._idle_s = idle_s
        self._superseded = False
        self._idle_since: float | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return the target number of replicas. Serve only applies its upper bound and the start from zero to it."""
        needed, target = math.ceil(context.total_num_requests), context.target_num_replicas
        self._superseded = self._is_superseded(context)
        wanted = needed if self._superseded else max(needed, self._min_replicas)
        if wanted >= target or self._superseded:
            self._idle_since = None
            return wanted, {}
        if self._idle_since is None:
            self._idle_since = context.current_time
        if context.current_time - self._idle_since < self._idle_s:
            return target, {}
        self._idle_since = None
        return wanted, {}

    def _is_superseded(self, context: Any) -> bool:
        """The reports of the Generators. Without a Generator, the last report holds until there is a request again."""
        said = (context.aggregated_metrics or {}).get(SUPERSEDED, {})
        if said:
            return bool(max(said.values()) > 0)
        return self._superseded and context.total_num_requests == 0
