"""OpenAI's package, unchanged, makes and downloads a video by an alias of the model, through Ray Serve."""

import openai
import pytest

from tests.e2e.server import Server


@pytest.mark.filterwarnings("ignore:The Sora API")
def test_the_openai_package_makes_a_video_by_an_alias(server: Server) -> None:
    small = {"num_inference_steps": 2}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        created = client.videos.with_raw_response.create(
            prompt="Waves roll on.", model="sora-2", size="128x96", seconds="1", extra_body=small
        )
        assert int(created.headers["openai-poll-after-ms"]) >= 500
        video = client.videos.poll(created.parse().id)
        assert (video.status, video.size, video.seconds) == ("completed", "128x128", "1")
        content = client.videos.download_content(video.id)
        assert content.response.headers["content-disposition"] == f'inline; filename="{video.id}.mp4"'
        assert content.read()[4:8] == b"ftyp"
        with pytest.raises(openai.UnprocessableEntityError, match="does not edit"):
            client.videos.edit(prompt="Waves.", video=("a.mp4", b"0" * 3_000_000))
        assert client.videos.delete(video.id).deleted
