"""Skips attention between video and audio where its gates are zero, and the modality pass with it.

A gate weights what one modality adds to the other. Where all gates are zero, as in the demo, the modality pass, which
leaves that attention out, predicts what the conditional pass of its step has predicted.
"""

from typing import Any

from torch import Tensor, nn

from models.memory.replaced_forward import ReplacedForward
from models.optimizations.fast.guidance_interval import only_guides

GATES = {
    "av_cross_attn_video_a2v_gate": "video_a2v_cross_attn_scale_shift_table",
    "av_cross_attn_audio_v2a_gate": "audio_a2v_cross_attn_scale_shift_table",
}
"""The layer that makes a gate from the timestep, and the table of each block whose last row is added to it."""
ATTENTION = ("use_a2v_cross_attention", "use_v2a_cross_attention")
"""What a block is told: whether one modality attends to the other."""


def install_closed_gates(transformer: Any) -> bool:
    """Skip that attention in `transformer`. Return whether all gates are zero."""
    of_timestep = [getattr(transformer, name) for name in GATES]
    rows = [getattr(block, table)[-1] for block in transformer.transformer_blocks for table in GATES.values()]
    weights = [weight for gate in of_timestep for weight in gate.linear.parameters()]
    if any(bool(each.any()) for each in (*rows, *weights)):  # the first row of LTX-2 decides
        return False
    transformer.closed_gates = ClosedGates(transformer, of_timestep)
    return True


class ClosedGates(nn.Module):
    """The conditional prediction of a step, for its modality pass. A LoRA of a gate opens all of them while it acts."""

    def __init__(self, transformer: Any, gates: list[Any]) -> None:
        super().__init__()
        self._linears = [(gate, gate.linear) for gate in gates]  # in a list, so that they stay the transformer's alone
        self._prediction: tuple[Tensor, ...] = ()
        self._evaluate = ReplacedForward(transformer, self._forward)
        for block in transformer.transformer_blocks:
            block.register_forward_pre_hook(self._without_attention, with_kwargs=True)

    def clear_cache(self) -> None:
        """Drop the kept tensors at the end of a task."""
        self._prediction = ()

    def _forward(self, *args: Any, **call: Any) -> Any:
        if call.get("isolate_modalities") and self._prediction:
            prediction, self._prediction = self._prediction, ()
            return prediction
        result = self._evaluate(*args, **call)
        if self._are_closed() and not only_guides(call):
            self._prediction = tuple(each[-1:] for each in result)
        return result

    def _without_attention(self, _block: Any, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        return (args, {**inputs, **dict.fromkeys(ATTENTION, False)}) if self._are_closed() else None

    def _are_closed(self) -> bool:
        return all(gate.linear is linear for gate, linear in self._linears)
