"""Settings of the Dispatcher, which claims tasks and starts their runs."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class DispatcherSettings(SettingsModel):
    """Settings of the Dispatcher, which claims tasks and starts their runs."""

    replicas: Annotated[
        int, Field(ge=1, description="Dispatcher replicas. More than 1 needs PostgreSQL. All share the Generators.")
    ] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray reserves for each Dispatcher.")] = 0.1
    poll_interval_s: Annotated[
        float, Field(gt=0, description="Time between two checks for new tasks. A submit causes an extra check.")
    ] = 1.0
    lease_s: Annotated[
        float,
        Field(ge=5, description="A Dispatcher silent for this long loses its tasks to another one."),
    ] = 60.0
    max_attempts: Annotated[
        int, Field(ge=1, description="A task fails after this many runs that lost their Generator.")
    ] = 3
    max_requeues: Annotated[
        int,
        Field(
            ge=1, description="A task fails after it was requeued this often, for example by restarts of the server."
        ),
    ] = 20
    drain_timeout_s: Annotated[
        float,
        Field(ge=0, description="When the server stops: time for running tasks to end. The rest runs again later."),
    ] = 10.0
