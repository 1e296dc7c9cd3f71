"""A chain of given audio, a retake, an extend and a remix, each made from a video before, through the whole server."""

from typing import Any

import numpy as np

from tests.e2e.server import Server
from tests.ingress.media import audio_file, decode_audio, decode_frames, tone

PSNR_OF_ENCODING_DB = 30
"""Less than the loss of two encodings to an MP4, and much more than two renders of noise have in common."""


def submit(server: Server, route: str, files: dict[str, bytes] | None = None, **fields: Any) -> dict[str, Any]:
    """The final poll body of a task."""
    data = {"prompt": "A singer on a small stage.", "num_inference_steps": "2", **fields}
    answer = server.client.post(f"/v1/video/async_{route}", data=data, files=files or {"x": ("", b"")})
    assert answer.status_code == 200, answer.text
    return server.wait(answer.json()["task_id"])


def video_of(server: Server, body: dict[str, Any]) -> bytes:
    assert body["status"] == "completed", body
    return server.client.get(body["url"]).content


def psnr(given: list[Any], other: list[Any]) -> float:
    error = np.mean((np.stack(given).astype(float) - np.stack(other)) ** 2)
    return float(10 * np.log10(255**2 / error))


def test_what_was_given_is_seen_and_heard_in_each_video_of_a_chain(server: Server) -> None:
    first = submit(server, "a2v", {"audio": audio_file(2.0)}, width="128", height="128", frame_rate="25")
    made = video_of(server, first)
    frames = decode_frames(made)
    assert len(frames) == 50
    heard = decode_audio(made)[0]
    assert np.corrcoef(heard[4800:86_400], tone(2.0)[0][4800:86_400])[0, 1] > 0.95

    again = submit(server, "retake", source_task=first["task_id"], start_time="1")
    retaken = decode_frames(video_of(server, again))
    assert len(retaken) == 50
    assert psnr(frames[:24], retaken[:24]) > PSNR_OF_ENCODING_DB
    assert psnr(frames[34:], retaken[34:]) < PSNR_OF_ENCODING_DB

    longer = submit(server, "extend", source_task=again["task_id"], duration="1")
    assert longer["duration_s"] == 3.0
    extended = decode_frames(video_of(server, longer))
    assert len(extended) == 75
    assert psnr(retaken[:36], extended[:36]) > PSNR_OF_ENCODING_DB
    assert psnr(frames[:24], extended[:24]) > PSNR_OF_ENCODING_DB - 3

    answer = server.client.post(
        f"/v1/videos/video_{first['task_id']}/remix",
        json={"prompt": "At night.", "video_strength": 0.5, "num_inference_steps": 4},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["remixed_from_video_id"] == f"video_{first['task_id']}"
    remixed = server.wait(answer.json()["id"].removeprefix("video_"))
    changed = video_of(server, remixed)
    assert (remixed["num_inference_steps"], len(decode_frames(changed))) == (2, 50)
    assert np.corrcoef(decode_audio(changed)[0][4800:86_400], tone(2.0)[0][4800:86_400])[0, 1] > 0.95
