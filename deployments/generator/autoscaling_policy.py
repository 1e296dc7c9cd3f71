"""How many Generators there should be: what Serve's controller asks, some times a second.

Serve takes this module apart and rebuilds it in the controller, so it imports nothing of ours.
"""

import math
from typing import Any

SUPERSEDED = "superseded"
"""What a Generator reports of its server: 1.0 once a newer one runs that serves the same model."""


class GeneratorPolicy:
    """One Generator for each task under way, at least `min_replicas`, and fewer only after `idle_s` without need.

    A server that is superseded keeps none back: each Generator ends with its last task, whatever `min_replicas` says,
    so that the newer server gets the GPUs. Serve itself knows no `min_replicas`: an upgrade that waited for the first
    Generator would wait for ever where the older server has all GPUs.
    """

    def __init__(self, min_replicas: int, idle_s: float) -> None:
        self._min_replicas = min_replicas
        self._idle_s = idle_s
        self._superseded = False
        self._idle_since: float | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Decide. Serve adds nothing to it but the upper bound, and the way up from zero."""
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
        """What the Generators say; without one, what the last of them said, until a task is there again."""
        said = (context.aggregated_metrics or {}).get(SUPERSEDED, {})
        if said:
            return bool(max(said.values()) > 0)
        return self._superseded and context.total_num_requests == 0
