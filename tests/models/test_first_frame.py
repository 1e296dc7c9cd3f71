"""The image of an image-to-video request, from its upload to the encoder of the VAE."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf
from PIL import Image, ImageOps

from deployments.ingress.images.fitting import encode_input, fit_image
from deployments.ingress.images.reading import read_image
from models.conditions import first_frame
from models.errors import TaskCanceled
from models.ltx2.model import Ltx2Model
from models.request.request import RequestLimits, VideoRequest
from tests.models.conftest import ignore, small

CRF = 33
"""The CRF of the tiny model's family."""
DB = 1.0
"""How much worse the image at the encoder may be than with the reference's order of operations."""


@pytest.fixture
def encoded(model, monkeypatch) -> list[torch.Tensor]:
    """The images that reach the encoder. The render ends there."""
    seen: list[torch.Tensor] = []

    def encode(frames: torch.Tensor, **_: object) -> None:
        seen.append(frames)
        raise TaskCanceled("the test has seen enough")

    monkeypatch.setattr(model._image_to_video.vae, "encode", encode)
    return seen


def photo(width: int, height: int) -> Image.Image:
    """An image with detail at every scale, like a photo: noise in octaves, and sharp edges."""
    rng, coarse = np.random.default_rng(3), (width // 4, height // 4)
    total = np.zeros((coarse[1], coarse[0], 3), np.float32)
    for octave in range(7):
        noise = rng.integers(0, 256, ((coarse[1] >> octave) + 1, (coarse[0] >> octave) + 1, 3), dtype=np.uint8)
        shown = Image.fromarray(noise).resize(coarse, Image.Resampling.BILINEAR)
        total += np.asarray(shown, np.float32) * 1.6**octave
    total = (total - total.min()) * (230 / np.ptp(total))
    pixels = np.asarray(Image.fromarray(total.astype(np.uint8)).resize((width, height))).copy()
    pixels += rng.integers(0, 25, pixels.shape, dtype=np.uint8)
    pixels[:: height // 9, :] = 20
    pixels[:, :: width // 11] = 240
    return Image.fromarray(pixels)


def as_sent(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def reaching(model: Ltx2Model, encoded: list[torch.Tensor], image: Image.Image, request: VideoRequest) -> npt.NDArray:
    """The pixels (H, W, 3) from 0 to 255 that the encoder gets for `image`."""
    with pytest.raises(TaskCanceled):
        model.render(request, first_frame(image), ignore)
    return (encoded.pop()[0, :, 0].float().permute(1, 2, 0).numpy() + 1) * 127.5


def psnr(one: object, other: object) -> float:
    error = np.subtract(np.asarray(one, float), np.asarray(other, float))
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def compress(image: Image.Image) -> Image.Image:
    return Image.fromarray(apply_image_conditioning_crf(np.asarray(image), CRF))


def test_a_photo_of_12_megapixels_is_compressed_before_it_is_shrunk(model, encoded):
    upload, request = as_sent(photo(4000, 3000)), small(height=256, width=384)
    read = read_image(upload, RequestLimits())
    kept, request = fit_image(read, request, RequestLimits())
    stored = Image.open(io.BytesIO(encode_input(kept, request))).convert("RGB")
    got = reaching(model, encoded, stored, request)

    sent, size = Image.open(io.BytesIO(upload)), (request.width, request.height)
    clean = ImageOps.fit(sent, size, Image.Resampling.LANCZOS)
    in_order = ImageOps.fit(compress(sent), size, Image.Resampling.LANCZOS)
    assert psnr(got, clean) > psnr(in_order, clean) - DB
    assert psnr(compress(clean), clean) < psnr(in_order, clean) - 3 * DB, "the other order would pass too"


@pytest.mark.parametrize("shape", [(128, 64), (90, 50), (300, 64)])
def test_an_image_that_is_not_larger_than_the_video_is_compressed_at_its_size(model, encoded, shape):
    """Also an image that an older version has stored: it has the video's size already."""
    request, sent = small(), photo(*shape)
    kept, _ = fit_image(sent, request, RequestLimits())
    assert np.array_equal(kept, ImageOps.fit(sent, (128, 64), Image.Resampling.LANCZOS))
    got = reaching(model, encoded, kept, request)
    assert np.abs(got - np.asarray(compress(kept), float)).max() < 1e-3
