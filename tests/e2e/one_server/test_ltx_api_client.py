"""The requests of a program for the hosted LTX API make videos, through Ray Serve."""

import time

import httpx

from tests.e2e.server import Server
from tests.ingress.conftest import image_file

SMALL = {"prompt": "Waves roll on.", "model": "ltx-2-3-fast", "resolution": "128x96", "duration": 1.0, "fps": 24.0}
FEW_STEPS = {"num_inference_steps": 2}


def test_a_program_for_the_hosted_ltx_api_makes_videos(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        waited = client.post("/v1/text-to-video", json={**SMALL, **FEW_STEPS}, headers={"x-request-id": "mine"})
        assert (waited.status_code, waited.headers["content-type"]) == (200, "video/mp4"), waited.text
        assert waited.content[4:8] == b"ftyp"
        assert waited.headers["content-length"] == str(len(waited.content))
        assert waited.headers.get_list("x-request-id") == ["mine"]

        upload = client.post("/v1/upload").json()
        assert httpx.put(upload["upload_url"], content=image_file()).status_code == 200
        fields = {**SMALL, **FEW_STEPS, "image_uri": upload["storage_uri"]}
        submitted = client.post("/v2/image-to-video", json=fields)
        assert submitted.status_code == 202, submitted.text
        job = submitted.json()
        while job.get("status") not in ("completed", "failed"):
            time.sleep(0.3)
            job = client.get(f"/v2/image-to-video/{job['id']}").json()
        assert httpx.get(job["result"]["video_url"]).content[4:8] == b"ftyp"

        refused = client.post("/v2/extend", json={"video_uri": "data:video/mp4;base64," + "A" * 3_000_000})
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        assert len(refused.headers.get_list("x-request-id")) == 1
