"""A sequence of tasks with one of PEFT's tuners, as the loop, trackers and exports know one.

    through     one adapter learns all tasks
    merge       W ← W + ΔW in float32 when a task ends, and a new adapter begins on that
    per_task    an adapter for every task, which must be told; a task that has not begun is answered
                by the backbone

Before the first task the backbone answers alone, whatever the tuner's first numbers would make of
it: that is what b[j] and the drift are measured from. PEFT's EVA looks at every task's examples, in
mode through at those of the first.

The state holds every number that PEFT has added, frozen ones too, and those of the backbone that it
changes, so it is complete whatever PEFT writes into its own files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from continual.adapters import Adaptation, Method
from continual.adapters.state import (
    META,
    check_facts,
    check_keys,
    copies,
    hash_tensors,
    load_heads,
    pack,
    part,
    unpack,
)
from continual.errors import InputError
from continual.interop.tuners.eva import EXAMPLES, remembered, start
from continual.interop.tuners.installed import Installed
from continual.interop.tuners.names import PER_TASK, THROUGH, starts_from_data
from continual.interop.tuners.numbers import lent
from continual.interop.tuners.settings import TunerConfig
from continual.interop.tuners.tuner import Tuner

WAITS = "waits"  # in a state: whether an adapter has still to be shown examples


class TunerAdaptation(Adaptation):
    """An adaptation whose parts are PEFT's: it has no adapters of ours for trackers to look at."""

    _installed: Installed | None = None
    _speaker: Any = None
    _room: tuple[Any, int] = (None, 0)

    def __init__(
        self,
        *,
        model: nn.Module,
        method: Method,
        config: TunerConfig,
        heads: nn.Module | None,
        target_modules: Sequence[str] | None,
        task_type: str | None,
        seed: int,
    ) -> None:
        """Build the first adapter; it is put in place when the first task begins.

        Args:
            model: the network.
            method: of ``tuner_method``.
            config: of ``tuner_config``.
            heads: task heads that learn beside it; None without.
            target_modules: what PEFT is told to adapt; None leaves it to PEFT.
            task_type: PEFT's word for the family of the network.
            seed: of everything that PEFT draws.

        Raises:
            InputError: PEFT refuses the network, or must merge and cannot. The network is then as
                it was.
        """
        super().__init__(
            model=model, method=method, config=config, layers={}, places={}, heads=heads
        )
        fields = {} if target_modules is None else {"target_modules": list(target_modules)}
        self._installed = Installed(
            model, self._base, config, {"task_type": task_type, **fields}, seed
        )
        self._past: list[dict[str, Tensor]] = []
        self._hidden = False  # whether the model answers otherwise than its state says
        self._waits = starts_from_data(config.fields)  # for examples to start from
        self._mark()

    @property
    def installed(self) -> Installed:
        """The tuner of the current task."""
        assert self._installed is not None
        return self._installed

    @property
    def tuner(self) -> Tuner:
        """What PEFT has built for the current task."""
        return self.installed.tuner

    def begin_task(self, task: int) -> None:
        """Begin task 0, 1, 2, ... in this order; in modes through and merge nothing is forgotten.

        Raises:
            InputError: another task is next.
        """
        if task == self.task + 1:
            if task > 0 and self.config.mode == PER_TASK:
                self._past.append(copies(self.installed.numbers()))
            self.installed.begin_task(task)
            new = task == 0 or self.config.mode != THROUGH
            self._waits = self._waits or (new and starts_from_data(self.config.fields))
        super().begin_task(task)

    @property
    def looks_at(self) -> int:
        """How many examples PEFT's EVA must see before the task is learned; 0 for the others."""
        return EXAMPLES if self._waits else 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside, EVA sees what the network is asked; afterwards its new adapter starts from it.

        Raises:
            InputError: there is no such start in what it was asked.
        """
        if not self._waits or self.task < 0:
            yield
            return
        with remembered(self.model) as calls:
            yield
        self._waits = False
        if calls:
            start(self.tuner, calls)
            self._mark()

    def penalty(self) -> Tensor:
        """Return AdaLoRA's penalty, or KaSA's; zero for the others."""
        if self.installed.budget is not None:
            return self.installed.budget.penalty()
        if self.config.fields.get("kasa_config") is None:
            return super().penalty()
        return self.tuner.model.base_model._get_kasa_loss()

    def after_step(self, lr: float) -> dict[nn.Parameter, Tensor | None]:
        """Let AdaLoRA allocate its ranks."""
        if self.installed.budget is not None:
            self.installed.budget.after_step()
        return {}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return exactly the parameters that learn, by PEFT's names after "adapters."."""
        own = {} if self._installed is None else self.tuner.trainable()
        heads = {} if self.heads is None else dict(self.heads.named_parameters())
        found = {f"adapters.{name}": parameter for name, parameter in own.items()}
        return found | {f"heads.{name}": parameter for name, parameter in heads.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the adaptation that was saved, see ``Adaptation.load_state``.

        Raises:
            InputError: another method, config or base, missing or unexpected keys, wrong shapes.
        """
        facts = unpack(tensors)
        check_facts(facts, self._facts())
        check_keys({n for n in tensors if n.startswith("heads.")}, self._saved_heads())
        load_heads(self.heads, part(tensors, "heads."))
        self.task = facts["task"]
        finished = self.task if self.config.mode == PER_TASK else 0
        self._past = [part(tensors, f"past.{j}.") for j in range(finished)]
        self.installed.restore(tensors, max(self.task, 0))
        check_keys(tensors, {*self._saved(), META})
        self.tuner.put(self.task >= 0)
        self._waits = WAITS in tensors and bool(tensors[WAITS])
        self._mark()

    def state_hash(self) -> str:
        """Return a hash of the function, see ``Adaptation.state_hash``."""
        facts = self._facts() | {"begun": self.task >= 0}
        return hash_tensors(self._saved() | {META: pack(facts)})

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the model is the frozen base exactly; see ``Adaptation.disabled``."""
        with self.tuner.placed(False), self._answering_otherwise(), self._base.restored():
            yield

    @contextmanager
    def serving(self, task: int) -> Iterator[None]:
        """Inside, the model answers as for this task: in mode per_task with that task's adapter."""
        if self.config.mode != PER_TASK or task == self.task or self.task < 0:
            yield
        elif task > self.task:
            with self.disabled():
                yield
        else:
            numbers = self.installed.numbers()
            with lent(numbers, self._past[task]), self._answering_otherwise():
                yield

    @contextmanager
    def unwrapped(self) -> Iterator[dict[str, nn.Module]]:
        """Inside, the model has its original modules; see ``Adaptation.unwrapped``."""
        with self.tuner.placed(False):
            yield {}

    def detach(self) -> nn.Module:
        """Return the model as it was before attach; see ``Adaptation.detach``."""
        self.tuner.remove()
        if self._speaker is not None:
            self._speaker.limit, self._speaker.max_length = self._room
        return super().detach()

    def shorten(self, speaker: Any, room: int) -> None:
        """Leave a backbone so many positions beside a prompt's, until ``detach``."""
        self._speaker, self._room = speaker, (speaker.limit, speaker.max_length)
        speaker.limit, speaker.max_length = room, min(speaker.max_length, room)

    def _saved(self) -> dict[str, Tensor]:
        if self._hidden:
            raise InputError("leave disabled() or serving() before asking for the state.")
        saved = self.installed.saved()
        for task, numbers in enumerate(self._past):
            saved |= {f"past.{task}.{n}": t for n, t in numbers.items()}
        if starts_from_data(self.config.fields):
            saved[WAITS] = torch.tensor(self._waits)
        return saved | self._saved_heads()

    def _saved_heads(self) -> dict[str, Tensor]:
        heads = {} if self.heads is None else self.heads.state_dict()
        return {f"heads.{name}": tensor for name, tensor in heads.items()}

    @contextmanager
    def _answering_otherwise(self) -> Iterator[None]:
        before, self._hidden = self._hidden, True
        try:
            yield
        finally:
            self._hidden = before
