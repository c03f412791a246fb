"""A model under adaptation: what learns, where a task ends, how it is saved and undone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from continual.adapters.base import Adapter
from continual.adapters.choices import Search
from continual.adapters.frozen_base import FrozenBase
from continual.adapters.layer import AdaptedLinear, weight_of
from continual.adapters.method import Method
from continual.adapters.moments import finish_step
from continual.adapters.state import (
    META,
    check_state,
    copies,
    hash_tensors,
    held_once,
    load_heads,
    pack,
    part,
)
from continual.errors import InputError

Place = tuple[nn.Module, str]  # a parent module and the name of its child


class Adaptation:
    """One model, one method, a sequence of tasks. Built by ``continual.adapters.attach``.

    Attributes:
        method: how the model adapts.
        config: the method's settings.
        model: the adapted network, changed in place.
        heads: the task heads that learn beside it; None without.
        layers: the adapted layers by name, in the model's order.
        adapters: their adapters by the same names.
        task: index of the current task; -1 before the first.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        method: Method,
        config: Any,
        layers: Mapping[str, AdaptedLinear],
        places: Mapping[str, list[Place]],
        heads: nn.Module | None,
    ) -> None:
        """Take over a model whose adapters are built but not yet in place."""
        self.method, self.config, self.model, self.heads = method, config, model, heads
        self.layers, self._places, self.task = dict(layers), places, -1
        self.adapters: dict[str, Adapter] = {n: layer.adapter for n, layer in layers.items()}
        self._base = FrozenBase(model, heads, keep=method.trains == "everything")
        self._put(self.layers)
        self._mark()

    def begin_task(self, task: int) -> None:
        """Begin task 0, 1, 2, ... in this order; the function stays as it is.

        Call it after the heads have grown for the task, and ask for ``trainable()`` again.

        Raises:
            InputError: another task is next.
        """
        if task != self.task + 1:
            raise InputError(
                f"tasks begin in order: after task {self.task} comes {self.task + 1}; got {task}. "
                "load_state() continues at the task the state was saved in."
            )
        for adapter in self.adapters.values():
            adapter.begin_task(task)
        self.task = task
        self._mark()

    def penalty(self) -> Tensor:
        """Return the method's penalty, a scalar to be added once per optimiser step."""
        terms = [adapter.penalty() for adapter in self.adapters.values()]
        if not terms:
            return torch.zeros((), device=next(self.model.parameters()).device)
        return torch.stack([term.to(terms[0].device) for term in terms]).sum()

    def before_step(self) -> None:
        """Let every adapter draw what one optimiser step has in common."""
        for adapter in self.adapters.values():
            adapter.before_step()

    def after_backward(self) -> None:
        """Let every adapter change its gradients."""
        for adapter in self.adapters.values():
            adapter.after_backward()

    def after_step(self, lr: float) -> dict[nn.Parameter, Tensor | None]:
        """Let every adapter finish an optimiser step that was made with this learning rate.

        Returns:
            The parameters that began anew, whose moments the optimiser must forget; where only some
            entries did, with a mask of these.
        """
        return finish_step(self.adapters.values(), lr)

    @property
    def looks_at(self) -> int:
        """How many examples of a task the adapters must see before they learn it."""
        return max((a.looks_at(self.config) for a in self.adapters.values()), default=0)

    @property
    def search(self) -> Search | None:
        """How a search at the end of every task looks among choices; None: nothing is chosen."""
        kind = self.method.adapter
        return None if kind is None else kind.searches(self.config)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside, every adapter sees the inputs of its weight; afterwards all begin to learn."""
        for layer in self.layers.values():
            layer.looking = True
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.looking = False
        for adapter in self.adapters.values():
            adapter.settle()
        self._mark()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return exactly the parameters that learn now, by stable names.

        Names begin with "adapters.<layer>.", "model." or "heads.". Parameters are new objects where
        a task boundary, growing heads or ``load_state`` replaced them, so do not keep this dict.
        """
        found: dict[str, nn.Parameter] = {}
        known: set[int] = set()  # what several layers share is listed once
        for site, adapter in self.adapters.items():
            own = {n: p for n, p in adapter.named_parameters() if id(p) not in known}
            found |= {f"adapters.{site}.{n}": p for n, p in own.items()}
            known |= set(map(id, own.values()))
        heads = dict(self.heads.named_parameters()) if self.heads is not None else {}
        if self.method.trains == "everything":
            inside = {id(p) for p in heads.values()}
            named = self.model.named_parameters()
            found |= {f"model.{n}": p for n, p in named if id(p) not in inside}
        if self.method.trains != "nothing":
            found |= {f"heads.{n}": p for n, p in heads.items()}
        return found

    def state(self) -> dict[str, Tensor]:
        """Return everything needed to become this adaptation again, as contiguous CPU copies.

        The key "meta" is a uint8 tensor of JSON: method, config, task and base hash. What several
        layers share is there once, under the name of the first.

        Raises:
            InputError: called inside ``disabled()`` of full fine-tuning.
        """
        return copies(self._saved()) | {META: pack(self._facts() | {"task": self.task})}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the adaptation that was saved, whatever this one has done since attach.

        Heads must already have the saved size: call ``backbone.begin_experience`` for every task up
        to the saved one first. Afterwards ask for ``trainable()`` again.

        Raises:
            InputError: another method, config or base, missing or unexpected keys, wrong shapes.
        """
        task = check_state(tensors, self._facts(), self._saved().keys())
        load_heads(self.heads, part(tensors, "heads."))
        _, places = held_once(self._prefixed())
        for site, adapter in self.adapters.items():
            own = {n: tensors[kept_as] for n, kept_as in places[f"adapters.{site}."].items()}
            adapter.restore(own, weight_of(site, self.layers[site].base))
        self._base.load(part(tensors, "model."))
        self.task = task
        self._mark()

    def state_hash(self) -> str:
        """Return a hash of the adapted function: equal hashes give equal outputs on this base."""
        return hash_tensors(self._saved() | {META: pack(self._facts())})

    def trained_numbers(self) -> int:
        """Return how many numbers learn now, heads included."""
        return sum(parameter.numel() for parameter in self.trainable().values())

    def stored_numbers(self) -> int:
        """Return how many numbers ``state()`` holds, heads included, facts not."""
        return sum(tensor.numel() for tensor in self._saved().values())

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the model is the frozen base exactly; what was frozen stays frozen afterwards.

        Heads are not part of the base and stay as they are. May be nested.
        """
        before = [(layer, layer.active) for layer in self.layers.values()]
        for layer, _ in before:
            layer.active = False
        try:
            with self._base.restored():
                yield
        finally:
            for layer, active in before:
                layer.active = active

    @contextmanager
    def serving(self, task: int) -> Iterator[None]:
        """Inside, the model answers as for this task; most methods have one function for all."""
        for adapter in self.adapters.values():
            adapter.serve(task)
        try:
            yield
        finally:
            for adapter in self.adapters.values():
                adapter.serve(None)

    @contextmanager
    def unwrapped(self) -> Iterator[dict[str, nn.Module]]:
        """Inside, the model has its original modules, for writing it under its own names.

        Yields the base layers by name. Adapters have no effect there.
        """
        bases = self._bases()
        self._put(bases)
        try:
            yield bases
        finally:
            self._put(self.layers)

    def detach(self) -> nn.Module:
        """Return the model as it was before attach: its modules, numbers and ``requires_grad``.

        The adaptation ends here; take ``state()`` before. Heads keep what they learned.
        """
        self._put(self._bases())
        self._base.undo()
        self.layers, self.adapters = {}, {}
        return self.model

    def _bases(self) -> dict[str, nn.Module]:
        return {name: layer.base for name, layer in self.layers.items()}

    def _put(self, modules: Mapping[str, nn.Module]) -> None:
        for name, module in modules.items():
            for parent, child in self._places[name]:
                setattr(parent, child, module)

    def _mark(self) -> None:
        self._base.mark(frozenset(map(id, self.trainable().values())))

    def _saved(self) -> dict[str, Tensor]:
        if self._base.is_live:
            raise InputError("leave disabled() before asking for the state or loading one.")
        saved = {f"model.{name}": tensor for name, tensor in self._base.trained().items()}
        saved |= held_once(self._prefixed())[0]
        if self.heads is not None:
            saved |= {f"heads.{n}": t for n, t in self.heads.state_dict().items()}
        return saved

    def _prefixed(self) -> dict[str, nn.Module]:
        return {f"adapters.{site}.": adapter for site, adapter in self.adapters.items()}

    def _facts(self) -> dict[str, Any]:
        config = json.loads(json.dumps(asdict(self.config)))  # tuples as a saved state has them
        return {"method": self.method.name, "config": config, "base": self._base.hash}
