"""The LoRAs of a loaded model, and those that a render applies."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.errors import InvalidRequest
from models.lora.lora_linear import LoraLinear, stack
from models.lora.weights import LayerPair, LoraWeights
from models.memory import transfer
from models.optimizations.install import clear_caches
from models.request.loras import LORAS, LoraChoice

Active = Sequence[tuple[LoraWeights, float]]
"""The LoRAs of a render, each with its scale."""


class LoraSet:
    """The LoRAs of one transformer, by name. Create it when the weights are placed, and before the optimizations.

    Optimizations wrap layers and fp8 replaces them; what holds a layer is looked up each time.
    """

    def __init__(self, transformer: Any, loras: Mapping[str, LoraWeights]) -> None:
        self._transformer = transformer
        self._loras = loras
        names = {name for weights in loras.values() for name in weights}
        self._layers: dict[str, nn.Module] = {name: transformer.get_submodule(name) for name in names}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all LoRAs."""
        return tuple(self._loras)

    @contextlib.contextmanager
    def applied(self, choices: Sequence[LoraChoice]) -> Iterator[None]:
        """Apply LoRAs in this context, on top of those of an outer one. A part of the steps may run in it.

        Without choices, and with scales of 0, the model is not touched. Raises InvalidRequest for an unknown name.
        """
        active = [(self._find(each), each.scale) for each in choices if each.scale]
        if not active:
            yield
            return
        made = self._on_device(active)
        holders = dict(self._find_holders(made))
        clear_caches(self._transformer)
        try:
            for name, (down, up) in made.items():
                setattr(*holders[name], LoraLinear(self._layers[name], down, up))
            yield
        finally:
            for name in made:
                setattr(*holders[name], self._layers[name])
            clear_caches(self._transformer)

    def _find(self, choice: LoraChoice) -> LoraWeights:
        if choice.name not in self._loras:
            raise InvalidRequest(LORAS, choice.name, f"the name of a loaded LoRA: {', '.join(self._loras) or 'none'}")
        return self._loras[choice.name]

    def _find_holders(self, names: Iterable[str]) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
        """For each layer, the module that has it as a child, and the child's name there."""
        wanted = {id(self._layers[name]): name for name in names}
        for module in self._transformer.modules():
            for child_name, child in module.named_children():
                if (name := wanted.get(id(child))) is not None:
                    yield name, (module, child_name)

    def _on_device(self, active: Active) -> dict[str, tuple[Tensor, Tensor]]:
        """The matrices of each layer, on the device of the transformer's weights that are never streamed."""
        device = self._transformer.scale_shift_table.device
        pairs: dict[str, list[tuple[LayerPair, float]]] = {}
        for weights, scale in active:
            for name, pair in weights.items():
                pairs.setdefault(name, []).append((_alias(pair), scale))
        if device.type != "cpu":
            of_all = (pair for each in pairs.values() for pair, _ in each)
            transfer.to_device([matrix for pair in of_all for matrix in (pair.down, pair.up)], device)
        return {name: stack(pairs.pop(name)) for name in tuple(pairs)}  # a stack is a copy: frees what it replaces


def _alias(pair: LayerPair) -> LayerPair:
    """The same memory in tensors of their own, of which a move leaves the originals in host memory."""
    return LayerPair(pair.down.detach(), pair.up.detach(), pair.factor)
