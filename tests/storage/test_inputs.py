"""The input file of a task: what goes in comes out, and a whole first image alone is the file itself."""

import pytest

from models.request.places import LAST, Place
from storage.inputs import InputImage, pack_images, unpack_images

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8\xff" + bytes(50)


def test_a_whole_first_image_alone_is_stored_as_it_always_was() -> None:
    assert pack_images([InputImage(PNG)]) == PNG
    assert unpack_images(PNG) == (InputImage(PNG),)


@pytest.mark.parametrize(
    "images",
    [
        (InputImage(PNG, Place(0, 0.5)),),
        (InputImage(JPEG, Place(LAST, 1.0)),),
        (InputImage(PNG), InputImage(JPEG, Place(48, 1 / 3)), InputImage(PNG, Place(12, 0.0))),
    ],
)
def test_all_others_come_back_with_their_places(images: tuple[InputImage, ...]) -> None:
    assert unpack_images(pack_images(images)) == images
