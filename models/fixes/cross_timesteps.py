"""Timesteps of the audio-video cross-attention, as the checkpoints were trained.

Each modality attends to the other. What its own tokens are scaled and shifted by follows their own timesteps; how far
what comes from the other is let in (the gate) follows the noise of the other. diffusers takes both from the same: from
the other's sigma with `use_cross_timestep`, else from the own timesteps. Where all tokens of both have one timestep, as
in text-to-video, the three are equal to the bit.
"""

from typing import Any

from torch import Tensor, nn

GATES = {"av_cross_attn_video_a2v_gate": "audio_sigma", "av_cross_attn_audio_v2a_gate": "sigma"}
"""The layer of each gate, and the noise level that it gets, by the transformer's name for it: the other modality's."""


def separate(transformer: Any) -> None:
    """Have `transformer` take scale and shift from own timesteps, and each gate from the other's sigma, for good.

    A hook on the transformer sees the call, one on each gate's layer changes what that gets. No name of a weight
    changes, and a layer gets one row for each row of the batch, however many tokens have timesteps of their own.
    """
    factor = transformer.config.cross_attn_timestep_scale_multiplier / transformer.config.timestep_scale_multiplier
    sigmas = _Sigmas()
    transformer.register_forward_pre_hook(sigmas.prepare, with_kwargs=True)
    transformer.register_forward_hook(sigmas.forget, always_call=True)
    for name, sigma in GATES.items():
        _feed(getattr(transformer, name), sigmas, sigma, factor)


class _Sigmas:
    """The noise level of each modality in the call at hand, one for each row of the batch, times 1,000."""

    def __init__(self) -> None:
        self.now: dict[str, Tensor] = {}

    def prepare(self, _transformer: Any, args: Any, call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Look at a call of the transformer, before it runs."""
        rows = len(call["hidden_states"])
        sigma = call["sigma"].flatten().expand(rows)
        audio_sigma = call.get("audio_sigma")
        self.now = {"sigma": sigma, "audio_sigma": sigma if audio_sigma is None else audio_sigma.flatten().expand(rows)}
        return args, {**call, "use_cross_timestep": False}

    def forget(self, *_: Any) -> None:
        """Let go of a call that has ended, whichever way."""
        self.now = {}


def _feed(gate: nn.Module, sigmas: _Sigmas, name: str, factor: float) -> None:
    def replace(_gate: nn.Module, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return (sigmas.now[name] * factor, *args[1:]), options

    gate.register_forward_pre_hook(replace, with_kwargs=True)
