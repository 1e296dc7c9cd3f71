"""Computes the timesteps of the audio-video cross-attention as in the training of the checkpoints.

Each modality attends to the other. Scale and shift of a modality's tokens depend on their own timesteps. The gate,
which weights the other modality's contribution, depends on the noise level of the other modality.

diffusers takes all from one source: from the other's sigma with `use_cross_timestep`, otherwise from the own timesteps.
Where all tokens of both modalities have one timestep, as in text-to-video, the three variants are equal bit for bit.
"""

from typing import Any

from torch import Tensor, nn

GATES = {"av_cross_attn_video_a2v_gate": "audio_sigma", "av_cross_attn_audio_v2a_gate": "sigma"}
"""Each gate's layer, and the transformer argument with its noise level, which is the other modality's."""


def separate(transformer: Any) -> None:
    """Make `transformer` take scale and shift from own timesteps, and each gate from the other's sigma. Permanent.

    A hook on the transformer reads the call; a hook on each gate's layer replaces its input. The names of the weights
    do not change. A gate's layer gets one row per row of the batch, even if tokens have timesteps of their own.
    """
    factor = transformer.config.cross_attn_timestep_scale_multiplier / transformer.config.timestep_scale_multiplier
    sigmas = _Sigmas()
    transformer.register_forward_pre_hook(sigmas.prepare, with_kwargs=True)
    transformer.register_forward_hook(sigmas.forget, always_call=True)
    for name, sigma in GATES.items():
        _feed(getattr(transformer, name), sigmas, sigma, factor)


class _Sigmas:
    """The noise level of each modality in the current call: one per row of the batch, times 1,000."""

    def __init__(self) -> None:
        self.now: dict[str, Tensor] = {}

    def prepare(self, _transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Read a transformer call before it runs."""
        rows = len(call["hidden_states"])
        sigma = call["sigma"].flatten().expand(rows)
        audio_sigma = call.get("audio_sigma")
        self.now = {"sigma": sigma, "audio_sigma": sigma if audio_sigma is None else audio_sigma.flatten().expand(rows)}
        return args, {**call, "use_cross_timestep": False}

    def forget(self, *_: Any) -> None:
        """Drop the values of a call that has ended, with or without an error."""
        self.now = {}


def _feed(gate: nn.Module, sigmas: _Sigmas, name: str, factor: float) -> None:
    def replace(_gate: nn.Module, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return (sigmas.now[name] * factor, *args[1:]), options

    gate.register_forward_pre_hook(replace, with_kwargs=True)
