"""PEFT's tuner for every method of ours: which layers, which names, what a file means."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.integrations import skip_init_on_device
from torch import Tensor, nn

from continual.adapters.attach import sites_of
from continual.adapters.base import Shared
from continual.adapters.layer import is_linear, weight_of
from continual.adapters.state import part
from continual.adapters.targets import DEFAULT_TARGETS
from continual.errors import InputError
from continual.interop.peft_types.config import MethodConfig
from continual.interop.peft_types.held import Held
from continual.interop.peft_types.layer import PREFIX, AdapterLayer
from continual.interop.peft_types.names import FROM_BASE, allowed

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.")  # what others put before a module's path
IN_FILES = "base_model.model."


class Alone(Shared):
    """Refuses what the layers of a model would have in common."""

    def once(self, name: str, make: Callable[[], Any]) -> NoReturn:
        """Refuse.

        Raises:
            InputError: always; says which settings keep every layer by itself.
        """
        raise InputError(
            f"with these settings the layers of the model share {name!r}, and PEFT keeps every "
            "layer by itself. Give pica shared=False, slora magnitudes='layer'."
        )


class AdapterTuner(BaseTuner):
    """Puts ``AdapterLayer`` where a configuration of ours says; PEFT does everything else."""

    prefix = PREFIX
    tuner_layer_cls = AdapterLayer
    target_module_mapping: ClassVar = {kind: list(names) for kind, names in DEFAULT_TARGETS.items()}

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """As PEFT's; the adapters of all layers are built before the first layer is replaced.

        Raises:
            InputError: a layer that cannot be adapted, or settings that do not fit it.
        """
        self._ready: dict[str, Held] = {}
        self._is_empty = low_cpu_mem_usage
        self._given = None if state_dict is None else _layers_in(state_dict)
        super().inject_adapter(
            model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage, state_dict
        )

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        """Put one adapter in its place."""
        assert isinstance(peft_config, MethodConfig)
        if not self._ready:
            self._ready = self._build(peft_config, adapter_name)
        held, inference = self._ready.pop(current_key), peft_config.inference_mode
        if isinstance(target, AdapterLayer):
            target.update_layer(
                adapter_name, held, target.active_adapters, inference_mode=inference
            )
            return
        layer = AdapterLayer(target)
        layer.update_layer(adapter_name, held, self.active_adapters, inference_mode=inference)
        self._replace_module(parent, target_name, layer, target)

    @skip_init_on_device  # a constructor needs numbers; with low_cpu_mem_usage they are dropped
    def _build(self, config: MethodConfig, adapter_name: str) -> dict[str, Held]:
        """Return what the targeted layers are to hold, by their paths; the model is as before."""
        method, settings = allowed(config.METHOD), config.settings()
        assert method.adapter is not None
        bases = self._targeted(config)
        found: dict[str, Held] = {}
        for site in sites_of(bases, config.seed, Alone(config.seed)):
            needed = site.weight if method.name in FROM_BASE else None
            held = Held(method.adapter(site, settings), needed)
            if not config.init_weights:
                held.shake()
            if self._is_empty:
                held.place("meta")
            found[site.name] = held
        words = {
            word for held in found.values() for key in held.state_dict() for word in key.split(".")
        }
        if adapter_name in words:
            raise InputError(
                f"an adapter of {method.name!r} cannot be called {adapter_name!r}: a part of it is "
                f"called so in PEFT's files. Other names than {sorted(words)} are free."
            )
        return found

    def _targeted(self, config: MethodConfig) -> dict[str, nn.Module]:
        """Return the frozen layers that PEFT is about to visit, by their paths."""
        found: dict[str, nn.Module] = {}
        inside: tuple[str, ...] = ()
        for key, module in self.model.named_modules():
            if not key or key.startswith(inside):
                continue
            if isinstance(module, AdapterLayer):
                inside = (*inside, f"{key}.")
            if not self._is_target(config, key):
                continue
            base = module.base_layer if isinstance(module, AdapterLayer) else module
            if not is_linear(base):
                raise InputError(
                    f"target module {key!r} is a {type(base).__name__}; {config.METHOD!r} adapts "
                    "Linear and Conv1D layers only. Choose other target_modules, or exclude it."
                )
            found[key] = base
        return found

    def _is_target(self, config: MethodConfig, key: str) -> bool:
        if self._given is None:
            return bool(self._check_target_module_exists(config, key))
        return _bare(key) in self._given

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Leave adapters in float32, or hold them in the dtype of the frozen weights if asked."""
        for module in self.model.modules():
            if isinstance(module, AdapterLayer) and not autocast_adapter_dtype:
                module.cast(adapter_name)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """``lin0.continual_adapter.NAME.adapter.A`` is ``lin0.continual_adapter.adapter.A``."""
        own = rf"(^|\.){PREFIX}adapter\.{re.escape(adapter_name)}\."
        return re.sub(own, rf"\1{PREFIX}adapter.", key, count=1)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: nn.Module,
        config: PeftConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Give every adapter its saved tensors, so that it has their sizes when PEFT copies them.

        Raises:
            InputError: the tensors do not fit an adapter, or its frozen weight.
        """
        for name, module in model.named_modules():
            if not isinstance(module, AdapterLayer) or (held := module.held(adapter_name)) is None:
                continue
            if own := _of_layer(state_dict, _bare(name)):
                held.restore(own, weight_of(name, module.get_base_layer()), name)
        return super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)


def _bare(path: str) -> str:
    for wrapper in WRAPPERS:
        path = path.removeprefix(wrapper)
    return path


def _layers_in(state_dict: Mapping[str, Tensor]) -> set[str]:
    """Return the layers that a state speaks of, as PEFT reads their names."""
    return {_bare(key.rsplit(f".{PREFIX}", 1)[0]) for key in state_dict}


def _of_layer(state_dict: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return a layer's tensors; files have a prefix that a bare model has not."""
    for start in (name, f"{IN_FILES}{name}"):
        if found := part(state_dict, f"{start}.{PREFIX}adapter."):
            return found
    return {}
