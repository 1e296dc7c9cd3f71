"""What is given of a video beside its text: images, audio, a clip to make anew, or a control video. No torch here."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.request.edits import Edit
from models.request.enums import DurationMode
from models.request.places import FIRST, FIRST_WHOLE, WHOLE, Place, is_first_image_alone
from models.request.request import VideoRequest
from models.waveform import Waveform
from models.yuv import halve_planes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageCondition:
    """An image that is given for one frame. `image` is RGB of the video's aspect ratio, and at least of its size."""

    image: "Image"
    place: Place = FIRST_WHOLE


@dataclass(frozen=True)
class AudioCondition:
    """Audio that is given for the whole video, from its first frame on. `strength` is from 0 (not used) to 1."""

    waveform: Waveform
    strength: float = WHOLE


@dataclass(frozen=True)
class ClipCondition:
    """A source, and the part of the result that is made anew.

    `frames` are YUV planes uint8 (T, H * 3 / 2, W) of the result's size and rate. `audio` begins with them, and is None
    for a source without audio.
    """

    frames: npt.NDArray[np.uint8]
    audio: Waveform | None
    edit: Edit

    def within(self, num_frames: int) -> "ClipCondition":
        """The same condition, in the render for a result of `num_frames` frames."""
        return replace(self, edit=self.edit.within(self.edit.rendered(num_frames)))

    def at_half_size(self, num_frames: int) -> "ClipCondition":
        """The same condition, with frames of half the height and width.

        Only those frames have values that a render of `num_frames` frames reads.
        """
        count, rows, width = self.frames.shape
        first, last = np.clip((0 - self.edit.source_at, num_frames - 1 - self.edit.source_at), 0, count - 1)
        frames = np.empty((count, rows // 2, width // 2), np.uint8)
        frames[first : last + 1] = halve_planes(self.frames[first : last + 1])
        return replace(self, frames=frames)


@dataclass(frozen=True)
class ControlCondition:
    """A control video, which the IC-LoRA `lora` follows.

    `frames` are YUV planes uint8 (T, H * 3 / 2, W) of the result's rate. Their sides are those of the render (of its
    first stage, if there are two), divided by `downscale_factor`. `strength` is from 0 (noise) to 1 (as they are).
    """

    frames: npt.NDArray[np.uint8]
    lora: str
    strength: float = WHOLE
    downscale_factor: int = 1


@dataclass(frozen=True)
class Conditions:
    """All that is given of one video beside its text."""

    images: tuple[ImageCondition, ...] = ()
    audio: AudioCondition | None = None
    clip: ClipCondition | None = None
    control: ControlCondition | None = None

    @property
    def are_none(self) -> bool:
        """Whether only a text is given."""
        return not self.images and not self.have_media

    @property
    def have_media(self) -> bool:
        """Whether audio, a clip or a control video is given."""
        return self.audio is not None or self.clip is not None or self.control is not None

    @property
    def makes_frames(self) -> bool:
        """Whether the result has frames of the model."""
        return self.clip is None or self.clip.edit.replaces_video

    @property
    def makes_audio(self) -> bool:
        """Whether the result has audio of the model."""
        if self.clip is not None:
            return self.clip.edit.replaces_audio
        return self.audio is None or self.audio.strength == 0

    @property
    def first_image_alone(self) -> "Image | None":
        """The image, if exactly the first frame is given, with full strength: the image-to-video of diffusers."""
        if self.have_media:
            return None
        return self.images[0].image if is_first_image_alone([each.place for each in self.images]) else None

    @property
    def tokens(self) -> "GivenTokens":
        """What a render has to hold for them."""
        places = [each.place for each in self.images]
        edit = None if self.clip is None else self.clip.edit
        factor = 0 if self.control is None else self.control.downscale_factor
        return tokens_of(places, audio=self.audio is not None, edit=edit, control_factor=factor)

    def rendered_request(self, request: VideoRequest) -> VideoRequest:
        """The request that the model renders. Given audio, a given clip and a control video fix the length."""
        if not self.have_media:
            return request
        request = request.model_copy(update={"length": DurationMode.EXACT})
        return request if self.clip is None else self.clip.edit.rendered_request(request)

    def with_steps_run(self, request: VideoRequest) -> VideoRequest:
        """The request with the number of steps that are run: with a source, the first ones may be left out."""
        return request if self.clip is None else self.clip.edit.with_steps_run(request)

    def within(self, request: VideoRequest) -> "Conditions":
        """The same conditions, for `rendered_request(request)`."""
        return self if self.clip is None else replace(self, clip=self.clip.within(request.num_frames))

    def at_half_size(self, num_frames: int) -> "Conditions":
        """The same conditions, for a first stage of `num_frames` frames. Images get their size when a stage begins."""
        return self if self.clip is None else replace(self, clip=self.clip.at_half_size(num_frames))

    def for_second_stage(self, request: VideoRequest) -> tuple["Conditions", VideoRequest]:
        """The same without the control video and its LoRA: only the first stage has them, as in Lightricks' own."""
        if self.control is None:
            return self, request
        loras = tuple(each for each in request.loras if each.name != self.control.lora)
        return replace(self, control=None), request.model_copy(update={"loras": loras})


NO_CONDITIONS = Conditions()


def first_frame(image: "Image | None") -> Conditions:
    """The conditions of image-to-video: an image for the first frame, if there is one."""
    return NO_CONDITIONS if image is None else Conditions((ImageCondition(image),))


@dataclass(frozen=True)
class GivenTokens:
    """What a render has to hold beside the tokens of a text-to-video.

    `own_timesteps`: each token of the video has a timestep of its own. `appended_images`: the images whose tokens are
    appended to those of the video. `own_audio_timesteps`: the same for the audio's tokens. `encodes_clip`: the frames
    of a source are encoded. `control_factor`: a control video is appended, whose sides are the video's divided by it; 0
    without one.
    """

    own_timesteps: bool = False
    appended_images: int = 0
    own_audio_timesteps: bool = False
    encodes_clip: bool = False
    control_factor: int = 0


NOTHING_GIVEN = GivenTokens()


def tokens_of(
    places: Collection[Place], *, audio: bool = False, edit: Edit | None = None, control_factor: int = 0
) -> GivenTokens:
    """The tokens of images at these places, of given audio, of a source, and of a control video.

    Those of the first frame replace tokens of the video. Whatever is given, all tokens get timesteps of their own.
    """
    return GivenTokens(
        bool(places) or audio or edit is not None or control_factor > 0,
        sum(place.frame != FIRST for place in places),
        audio or edit is not None,
        edit is not None,
        control_factor,
    )
