"""The text of get_guide: how to write a prompt, what the tools can do, and what this server has."""

from importlib.resources import files
from string import Template

from deployments.ingress.context import AppContext
from deployments.ingress.routes.agents import lora_rows, server_facts
from models.request.control import control_loras

ADVICE_START, ADVICE_END = "## Writing a prompt", "\n\nSteps:"
TOOLS = """## What the tools can do

- A first image, a last one and images in between: image, end_image and keyframes of create_video. A video_id as an
  image is the last frame of that video, so a new video begins where it ended.
- A video to a voice or to music: audio of create_video. The video follows it and has it as it is. Its length is that of
  the audio, or seconds of it from audio_start on.
- "Go on": edit_video with operation extend, and seconds to add. mode start adds before the first frame.
- "Redo this part" or "without the music": operation retake, with start_time and seconds of the part, and a prompt for
  it. The rest stays as it is. mode replace_audio gives a video without audio some.
- "The same, but at night" or "as a painting": operation change, with a prompt for the whole video. video_strength from
  0.4 to 0.8 says how much of it stays.
- A video that these tools made is named by its video_id: do not download and send it again. Other files come by URL, or
  by create_image_upload and create_media_upload.
"""
CONTROLS = """\
- "The same scene, but of glass" or "move like this": operation control. A new video follows the edges, the depth or the
  poses of the video. Name exactly one LoRA that has a control video in loras. preprocessor canny takes the edges of any
  video, for a LoRA of canny; other control videos must come finished. image says what its first frame looks like.
"""
LORAS = """
## LoRAs

This server has LoRAs: they change the style or the motion of a video. Name them in loras, and use their words in the
prompt. camera_motion picks one by its name.

| Name | Words for the prompt | Largest scale | Control video |
|---|---|---|---|
"""


class Guide:
    """Writes the text with the facts of one server."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._skill = Template((files("deployments.ingress") / "static/skill.md").read_text(encoding="utf-8"))

    def write(self) -> str:
        """The text. Blocks on the store."""
        facts = server_facts(self._context)
        text = self._skill.substitute(facts, base_url="")
        advice = text[text.index(ADVICE_START) :].rsplit(ADVICE_END, 1)[0]
        model = f"## Limits of this server\n\nModel: {facts['model']}\n{facts['model_warning']}\n"
        return f"{advice}\n\n{TOOLS}{self._controls()}\n{model}{self._limits()}{self._loras()}"

    def _limits(self) -> str:
        limits = self._context.settings.limits
        can = "can" if self._context.model_info.can_upscale() else "cannot"
        return (
            f"- Sides go up to {limits.max_side_px} pixels, a video up to {limits.max_duration_s:g} seconds, an edited "
            f"one up to {limits.max_edit_duration_s:g}.\n"
            f"- width x height x frames may be at most {limits.max_total_pixels}.\n"
            f"- An image may have at most {limits.max_image_bytes} bytes, an audio {limits.max_audio_bytes}, a video "
            f"{limits.max_video_bytes}.\n"
            f"- upscale 2 {can} be used here.\n"
        )

    def _controls(self) -> str:
        return CONTROLS if control_loras(self._context.settings.generator.known_loras) else ""

    def _loras(self) -> str:
        known = self._context.settings.generator.known_loras
        return f"{LORAS}{lora_rows(known)}" if known else ""
