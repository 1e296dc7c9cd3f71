"""Promise: weights that moved to a device or to host memory and back are the same, bit for bit."""

import pytest
import torch
from torch import nn

from models.memory import transfer
from models.memory.transfer import to_device, to_host, weights_of

CPU = torch.device("cpu")


class Component(nn.Module):
    """A component with all kinds of tensors: parameters, buffers, tied and transposed weights, small dtypes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one = nn.Linear(33, 17)
        self.tied = nn.Linear(33, 17, bias=False)
        self.tied.weight = self.one.weight
        self.turned = nn.Parameter(torch.randn(5, 7).t())
        self.eighth = nn.Parameter(torch.randn(9, 3).to(torch.float8_e4m3fn), requires_grad=False)
        self.register_buffer("scale", torch.tensor(3.0, dtype=torch.bfloat16))
        self.register_buffer("positions", torch.arange(6), persistent=False)


def contents(component: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().float().clone() for weight in weights_of([component])]


@pytest.mark.parametrize("buffer_bytes", [transfer.BUFFER_BYTES, 40])
def test_all_weights_arrive_and_are_what_they_were(buffer_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BUFFER_BYTES", buffer_bytes)
    component = Component()
    before, old = contents(component), [weight.data for weight in weights_of([component])]
    to_device(weights_of([component]), CPU)
    assert all(torch.equal(now, then) for now, then in zip(contents(component), before, strict=True))
    moved = zip(weights_of([component]), old, strict=True)
    assert all(now.data_ptr() != then.data_ptr() for now, then in moved)
    assert component.tied.weight is component.one.weight


def test_they_come_back_from_host_memory() -> None:
    component = Component()
    before = contents(component)
    weights = weights_of([component])
    assert to_host(weights, lambda: False)
    to_device(weights, CPU)
    assert all(torch.equal(now, then) for now, then in zip(contents(component), before, strict=True))


def test_the_way_to_host_memory_is_left_between_two_weights() -> None:
    component = Component()
    weights = weights_of([component])
    old = [weight.data for weight in weights]
    answers = iter([False, False, True])
    assert not to_host(weights, lambda: next(answers))
    moved = [now.data_ptr() != then.data_ptr() for now, then in zip(weights, old, strict=True)]
    assert moved == [True, True] + [False] * (len(weights) - 2)


def test_a_tied_weight_is_moved_once() -> None:
    component = Component()
    assert len(weights_of([component, component])) == 6
