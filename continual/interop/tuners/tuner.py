"""One PEFT model on a network: built from a seed, put in and taken out, merged, saved.

PEFT changes a network in place: it replaces modules by its own, and some of its initialisations
change the frozen weights. Which modules those are is found by comparing the network before and
after, so taking a tuner out is putting the old modules back, whatever PEFT's own switches do to
``requires_grad`` (`disable_adapter` unfreezes what was frozen).
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from continual._torchvision import ensure_torchvision
from continual.backbone.door import quiet
from continual.errors import InputError
from continual.interop.tuners.names import CACHED, PROMPTS
from continual.interop.tuners.prompts import Prompt

TOLD = " Here that is --set method.targets=[NAME, ...]."
CONSTANT = (".boft_P",)  # large, and made of the weight's shape alone
Children = list[tuple[nn.Module, dict[str, nn.Module | None]]]


class Tuner:
    """What PEFT has made of a network.

    Attributes:
        model: PEFT's model around the network.
        learning: the names in ``model`` of the parameters that learn.
        places: every replaced module: its parent, its name there, what was and what is there.
        prompt: the virtual tokens, for the types that have some.
        on: whether the network computes with it.
    """

    def __init__(self, network: nn.Module, config: Any, seed: int) -> None:
        """Build it from the seed; it is not ``on`` yet.

        Raises:
            InputError: PEFT cannot, or nothing would learn. The network is then as it was, but for
                weights that PEFT had changed already.
        """
        self.network, self.config, self.on = network, config, False
        self.base = {id(t): t for t in _tensors(network).values()}
        before = _children(network)
        try:
            with drawing(seed, next(network.parameters()).device), silence():
                ensure_torchvision()
                from peft import get_peft_model

                self.model: Any = get_peft_model(network, config)
        except Exception as error:  # PEFT's types refuse in every possible way
            _restore(before)
            raise InputError(
                f"PEFT cannot put {config.peft_type.value} on this backbone: {error}"
                f"{TOLD if 'target_modules' in str(error) else ''}"
            ) from error
        finally:
            vars(network).pop("peft_config", None)
        self.places = [
            (parent, name, old, new)
            for parent, children in before
            for name, old in children.items()
            if (new := parent._modules.get(name)) is not old
        ]
        self.learning = [n for n, p in self.model.named_parameters() if p.requires_grad]
        kind = config.peft_type.value
        self.prompt = None
        if kind in PROMPTS:
            self.prompt = Prompt(network, self.model, cached=kind in CACHED)
        self.put(False)
        if not self.learning:
            self.remove()
            raise InputError(f"PEFT's {kind} finds nothing on this backbone that it could train.")

    def put(self, on: bool) -> None:
        """Put its modules into the network, or those that were there before."""
        self.on = on
        for parent, name, old, new in self.places:
            setattr(parent, name, new if on else old)
            if on and new is not None:
                new.train(self.network.training)
        if self.prompt is not None:
            self.prompt.on = on

    @contextmanager
    def placed(self, on: bool) -> Iterator[None]:
        """Inside, its modules are in the network, or not; afterwards they are as they were."""
        before = self.on
        self.put(on)
        try:
            yield
        finally:
            self.put(before)

    def remove(self) -> None:
        """Leave the network for good."""
        self.put(False)
        if self.prompt is not None:
            self.prompt.remove()

    def tensors(self, also: Iterable[int] = ()) -> dict[str, Tensor]:
        """Return its own numbers, live, by PEFT's names, frozen ones included.

        Args:
            also: ids of tensors of the backbone that belong to it, because it changes them.
        """
        others = self.base.keys() - set(also)
        with self.placed(True):
            named = _tensors(self.model)
        return {
            name: tensor
            for name, tensor in named.items()
            if id(tensor) not in others and not name.endswith(CONSTANT)
        }

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that learn, by PEFT's names."""
        with self.placed(True):
            named = dict(self.model.named_parameters())
        return {name: named[name] for name in self.learning}

    def merged(self, wide: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Return the backbone's weights with the adapter added in, by their original names.

        Summed in float32 on a copy; the network is not touched.

        Args:
            wide: for the id of every tensor of the backbone that takes part, its float32 value.

        Raises:
            InputError: PEFT cannot merge this type here.
        """
        memo: dict[int, Any] = {key: t for key, t in self.base.items() if key not in wide}
        shared = set(memo)
        with self.placed(True), silence():
            twin = deepcopy(self.model, memo)
            for key, value in wide.items():
                memo[key].data = value.detach().to(memo[key].device, torch.float32, copy=True)
            try:
                whole = twin.merge_and_unload()
            except Exception as error:  # each type refuses in a way of its own
                raise InputError(
                    f"PEFT cannot merge {self.config.peft_type.value} into this backbone: {error}"
                ) from error
        named = _tensors(whole)
        return {name: tensor.detach() for name, tensor in named.items() if id(tensor) not in shared}

    def save(self, folder: Path, base_model: str) -> None:
        """Write an adapter directory as PEFT does, as safetensors."""
        self.config.base_model_name_or_path = base_model
        pattern = getattr(self.config, "rank_pattern", None)  # AdaLoRA's is renamed by saving
        with self.placed(True), silence():
            self.model.save_pretrained(str(folder), save_embedding_layers=False)
        if pattern is not None:
            self.config.rank_pattern = pattern


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's global generators, from which PEFT draws, start from the seed."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def silence() -> Iterator[None]:
    """Inside, nothing is said by PEFT, whose warnings are for other ways of using it."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _children(network: nn.Module) -> Children:
    return [(module, dict(module._modules)) for module in network.modules()]


def _restore(children: Children) -> None:
    for parent, named in children:
        for name, child in named.items():
            setattr(parent, name, child)
