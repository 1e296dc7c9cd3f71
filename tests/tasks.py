"""A task as the store returns it. Tests change it with `dataclasses.replace`."""

from models.request.request import VideoRequest
from storage.tasks import State, Task

WAITING = Task(
    id="x",
    sequence=1,
    state=State.QUEUED,
    model="m",
    request=VideoRequest(prompt="x"),
    base_url="",
    input_key=None,
    claim_token=1,
    attempts=0,
    requeues=0,
    stage=None,
    step=0,
    progress=0.0,
    bytes_done=0,
    bytes_total=0,
    created_at=0.0,
    started_at=None,
    finished_at=None,
    output=None,
    failure=None,
)
