"""A layer of PEFT's kind that holds adapters of ours, one for every PEFT adapter name.

Several active adapters add up: each sees the frozen layer's own output, so what is computed is what
merging gives. Merging writes W + ΔW into new memory, so an adapter that knows W keeps the original.
"""

import warnings
from collections.abc import Callable

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from continual.adapters.layer import bias_of, is_conv1d, weight_of
from continual.errors import InputError
from continual.interop.peft_types.held import Held

PREFIX = "continual_"


class AdapterLayer(nn.Module, BaseTunerLayer):
    """A frozen linear layer and the adapters that PEFT knows by name."""

    adapter_layer_names = ("continual_adapter",)

    def __init__(self, base_layer: nn.Module) -> None:
        """Wrap a layer without an adapter."""
        super().__init__()
        self.base_layer = base_layer
        self.continual_adapter = nn.ModuleDict()
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self._active_adapter: str | list[str] = []

    def update_layer(
        self, adapter_name: str, held: Held, active: list[str], *, inference_mode: bool
    ) -> None:
        """Add an adapter; those in ``active`` learn from now on, unless in inference mode."""
        self.continual_adapter[adapter_name] = held
        self.set_adapter(active, inference_mode=inference_mode)

    def held(self, adapter_name: str) -> Held | None:
        """Return what is held under a name; None where there is nothing."""
        if adapter_name not in self.continual_adapter:
            return None
        found = self.continual_adapter[adapter_name]
        assert isinstance(found, Held)
        return found

    def working(self) -> list[Held]:
        """Return what is held of the active adapters."""
        return [one for name in self.active_adapters if (one := self.held(name)) is not None]

    def forward(self, x: Tensor) -> Tensor:
        """Y = base(x), and the changes of all active adapters that are not merged."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        y = self.base_layer(x)
        if self.disable_adapters or self.merged:
            return y
        changed = [one(x, y) for one in self.working()]
        if len(changed) < 2:
            return changed[0] if changed else y
        return y + torch.stack([one - y for one in changed]).sum(dim=0)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return ΔW of an adapter as the base layer stores weights.

        Raises:
            InputError: no such adapter here.
        """
        found = self.held(adapter)
        if found is None:
            raise InputError(f"no adapter {adapter!r} here; there is {[*self.continual_adapter]}.")
        return self._stored(found.dense()[0])

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the changes of adapters to the frozen weight and bias.

        Args:
            safe_merge: refuse a sum that is not finite.
            adapter_names: which; None takes the active ones. What is merged already is left out.

        Raises:
            ValueError: the sum is not finite, with ``safe_merge``.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if (found := self.held(name)) is not None:
                summed = self._sums(found, 1.0)
                if safe_merge and not all(bool(one.isfinite().all()) for one in summed.values()):
                    raise ValueError(  # PEFT's own words, which its users and tests look for
                        "NaNs detected in the merged weights. The adapter "
                        f"{name} seems to be broken"
                    )
                self._write(summed)
                self.merged_adapters.append(name)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take every merged change away again."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            found = self.held(self.merged_adapters.pop())
            if found is not None:
                self._write(self._sums(found, -1.0))

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Say whether the change is one of the weight alone."""
        found = self.held(adapter_name)
        return found is None or found.dense()[1] is None

    @property
    def in_features(self) -> int:
        """N, inputs of the frozen layer."""
        return weight_of("", self.base_layer).shape[1]

    @property
    def out_features(self) -> int:
        """M, outputs of the frozen layer."""
        return weight_of("", self.base_layer).shape[0]

    def cast(self, adapter_name: str) -> None:
        """Give up float32: hold an adapter in the dtype of the frozen weight."""
        if (found := self.held(adapter_name)) is not None:
            found.cast(weight_of("", self.base_layer))

    def _stored(self, delta: Tensor) -> Tensor:
        return delta.T if is_conv1d(self.base_layer) else delta

    def _sums(self, held: Held, sign: float) -> dict[str, Tensor]:
        """Return the weight and, where it changes, the bias, summed in float32 at least."""
        delta, shift = held.dense()
        changes = {"weight": self._stored(delta)}
        if shift is not None:
            changes["bias"] = shift
        found: dict[str, Tensor] = {}
        for name, change in changes.items():
            frozen = self.base_layer.get_parameter(name)
            wide = torch.promote_types(frozen.dtype, torch.float32)
            summed = frozen.to(wide) + sign * change.to(frozen.device, wide)
            found[name] = summed.to(frozen.dtype)
        return found

    def _write(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.base_layer.get_parameter(name).data = tensor.contiguous()

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        """Follow the frozen weight, as PEFT asks after loading, but stay float32."""
        if (found := self.held(adapter_name)) is not None:
            found.to(self.weight.device if device is None else device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AdapterLayer":
        """Move as any module does; what adapters know of the frozen layer follows it."""
        known = (weight_of("", self.base_layer), bias_of(self.base_layer))
        super()._apply(fn, recurse)
        now = (weight_of("", self.base_layer), bias_of(self.base_layer))
        for name in self.continual_adapter:
            if (found := self.held(name)) is not None:
                found.follow(known, now, fn)
        return self
