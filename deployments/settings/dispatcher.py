"""The loop that claims tasks."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class DispatcherSettings(SettingsModel):
    """The loop that claims tasks."""

    replicas: Annotated[
        int, Field(ge=1, description="Dispatchers; more than one only with PostgreSQL. They share the Generators.")
    ] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Dispatcher.")] = 0.1
    poll_interval_s: Annotated[
        float, Field(gt=0, description="How often it looks for tasks when nobody nudges it.")
    ] = 1.0
    lease_s: Annotated[
        float,
        Field(ge=5, description="How long another Dispatcher waits before it takes a silent one's tasks."),
    ] = 60.0
    max_attempts: Annotated[int, Field(ge=1, description="Generators that a task may lose before it fails.")] = 3
    max_requeues: Annotated[
        int, Field(ge=1, description="Restarts of the server that a task may live through before it fails.")
    ] = 20
    drain_timeout_s: Annotated[
        float, Field(ge=0, description="How long running tasks may go on at a stop; the rest starts again.")
    ] = 10.0
