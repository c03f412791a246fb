"""The place in the network where an adapter works: a frozen linear layer and its change.

torch's ``nn.Linear`` stores W as (outputs, inputs). GPT-2's ``Conv1D`` stores (inputs, outputs); it
is recognised by its class name and its ``nf`` field, so that transformers need not be imported, and
never by the shape of a weight, which says nothing where the matrix is square.
"""

import torch
from torch import Tensor, nn

from continual.adapters.base import Adapter
from continual.errors import InputError


def is_conv1d(module: nn.Module) -> bool:
    """Say whether this is the transposed linear layer of GPT-2 in transformers."""
    return type(module).__name__ == "Conv1D" and "nf" in vars(module)


def is_linear(module: nn.Module) -> bool:
    """Say whether an adapter can work here: ``nn.Linear``, a subclass of it, or ``Conv1D``.

    The output projection inside ``nn.MultiheadAttention`` is a linear layer that is never called
    (its weight is read directly), so a change there would have no effect: it does not count.
    """
    uncalled = type(module) is nn.modules.linear.NonDynamicallyQuantizableLinear
    return (isinstance(module, nn.Linear) and not uncalled) or is_conv1d(module)


def weight_of(name: str, module: nn.Module) -> Tensor:
    """Return the layer's frozen weight as a detached (outputs, inputs) view.

    Raises:
        InputError: the weight is packed (quantised) or not a floating-point matrix.
    """
    weight = whole(module.get_parameter("weight").detach())
    if isinstance(module, nn.Linear):
        plain = weight.shape == (module.out_features, module.in_features)
    else:
        plain = weight.dim() == 2 and weight.shape[1] == vars(module)["nf"]
    if not plain or not weight.is_floating_point():
        raise InputError(
            f"layer {name!r} holds a packed {weight.dtype} weight of shape {tuple(weight.shape)}; "
            "adapters need plain floating-point weights. Load the backbone without quantisation."
        )
    return weight.T if is_conv1d(module) else weight


def whole(weight: Tensor) -> Tensor:
    """Return all of a weight of which every process holds a part: all must ask at once."""
    return weight.full_tensor() if type(weight).__name__ == "DTensor" else weight  # type: ignore[operator]


def bias_of(module: nn.Module) -> Tensor | None:
    """Return the layer's frozen bias, detached; None where it has none."""
    bias = dict(module.named_parameters(recurse=False)).get("bias")
    return None if bias is None else whole(bias.detach())


class AdaptedLinear(nn.Module):
    """A frozen linear layer followed by its adapter; ``active=False`` is the frozen layer alone.

    While ``looking``, the adapter sees every input.
    ``weight`` and ``bias`` remain readable here because some architectures look at them.
    """

    def __init__(self, base: nn.Module, adapter: Adapter) -> None:
        """Wrap without touching the numbers of either."""
        super().__init__()
        self.base, self.adapter, self.active, self.looking = base, adapter, True, False
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:
        """Y = base(x), then the adapter's change of it, in eval mode without gradient as served."""
        if not self.active:
            return self.base(x)
        y = self._bias_alone(x) if self.adapter.holds_base else self.base(x)
        if self.looking:
            self.adapter.look(x)
        learning = self.training or torch.is_grad_enabled()
        return self.adapter(x, y) if learning else self.adapter.served(x, y)

    def _bias_alone(self, x: Tensor) -> Tensor:
        """B for every input, in the dtype of the frozen layer; zeros where it has none."""
        weight = weight_of("", self.base)
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias
        return bias.expand(*x.shape[:-1], len(weight))

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as the base layer stores it."""
        return self.base.get_parameter("weight")

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias, if the base layer has one."""
        return dict(self.base.named_parameters(recurse=False)).get("bias")
