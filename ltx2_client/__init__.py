"""A client of the LTX-2 video server. It does not need Ray or torch.

from ltx2_client import Client

with Client("http://localhost:8004") as client:
    client.generate("A paper boat drifts across a bowl.", "boat.mp4", image="boat.jpg")
"""

from ltx2_client.async_client import AsyncClient
from ltx2_client.client import Client
from ltx2_client.errors import ApiError, ClientError, DownloadFailed, TaskFailed, Unreachable, UsageError
from ltx2_client.media import AudioOptions, ChangeOptions, ControlOptions, ExtendOptions, RetakeOptions
from ltx2_client.operations import Keyframe, Lora, Options
from ltx2_client.responses import Cancellation, EnhancedPrompt, Estimate, Health, Submitted, Task, TaskPage

__all__ = [
    "ApiError",
    "AsyncClient",
    "AudioOptions",
    "Cancellation",
    "ChangeOptions",
    "Client",
    "ClientError",
    "ControlOptions",
    "DownloadFailed",
    "EnhancedPrompt",
    "Estimate",
    "ExtendOptions",
    "Health",
    "Keyframe",
    "Lora",
    "Options",
    "RetakeOptions",
    "Submitted",
    "Task",
    "TaskFailed",
    "TaskPage",
    "Unreachable",
    "UsageError",
]
