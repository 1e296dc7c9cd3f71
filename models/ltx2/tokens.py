"""Which latents an edit leaves as they are given: of the video by its frames, of the audio by its time. No torch."""

import math

from models.request.edits import Edit
from models.request.request import FRAMES_PER_LATENT


def given_latent_frames(edit: Edit, num_frames: int) -> list[bool]:
    """For each latent frame of a render of `num_frames` frames, whether it is given.

    The first latent frame holds one frame, each later one eight. One that holds a frame of the window is made anew.
    """
    count = (num_frames - 1) // FRAMES_PER_LATENT + 1
    if edit.keeps_frames:
        return [True] * count
    first, last = latent_of(edit.start_frame), latent_of(edit.end_frame - 1)
    return [not first <= latent <= last for latent in range(count)]


def latent_of(frame: int) -> int:
    """The latent frame that holds a frame."""
    return math.ceil(frame / FRAMES_PER_LATENT)


def given_audio_latents(edit: Edit, num_latents: int, num_frames: int) -> list[bool]:
    """For each latent of the audio of `num_frames` frames, whether it is given: none that overlaps the window."""
    if edit.keeps_audio:
        return [True] * num_latents
    first = math.floor(edit.start_frame * num_latents / num_frames)
    to_the_end = edit.end_frame > num_frames - FRAMES_PER_LATENT  # what is rendered after the result's end counts too
    end = num_latents if to_the_end else math.ceil(edit.end_frame * num_latents / num_frames)
    return [not first <= latent < end for latent in range(num_latents)]
