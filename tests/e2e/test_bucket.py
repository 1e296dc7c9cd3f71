"""The real server with its outputs in a bucket: it needs no folder, and leaves no extra file."""

import io

import httpx
import pytest
from PIL import Image

from tests.e2e.server import QUICK, running_server
from tests.s3 import CREDENTIALS, REGION, client_of, give_credentials, new_bucket, s3_server

pytestmark = pytest.mark.timeout(600)


def test_an_image_becomes_a_video_in_the_bucket(tmp_path, monkeypatch) -> None:
    give_credentials(monkeypatch)
    with s3_server() as endpoint:
        bucket = new_bucket(endpoint)
        outputs = {
            "url": f"s3://{bucket}/videos",
            "delivery": "redirect",
            "s3": {"endpoint_url": endpoint, "region": REGION},
        }
        with running_server(tmp_path, {"outputs": outputs}, CREDENTIALS) as server:
            image = io.BytesIO()
            Image.new("RGB", (96, 64), "orange").save(image, "PNG")
            answer = server.client.post("/v1/video/async_i2v", data=QUICK, files={"image": image.getvalue()})
            body = server.wait(answer.json()["task_id"])
            assert body["status"] == "completed", body
            video = httpx.get(body["url"], follow_redirects=True)
            assert (video.status_code, len(video.content)) == (200, body["size_bytes"])
            assert str(video.url).startswith(f"{endpoint}/{bucket}/videos/outputs/")
        client = client_of(endpoint)
        left = [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]]
        client.close()
    task_id = body["task_id"]
    assert sorted(left) == [f"videos/outputs/ltx2_{task_id}.jpg", f"videos/outputs/ltx2_{task_id}.mp4"]
