"""The tuner of the current task on a backbone, and every number that the two have made.

A tuner is always built anew from the seed of its task on the numbers that the backbone has when the
task begins: the original ones, or in mode merge those into which the finished tasks were merged.
What is frozen and drawn then comes out the same in any process; what is saved is put on top.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from continual.adapters.base import seed_of
from continual.adapters.frozen_base import FrozenBase
from continual.adapters.state import copies, part
from continual.interop.tuners.adalora import RankBudget
from continual.interop.tuners.names import MERGE, THROUGH
from continual.interop.tuners.numbers import Changes, load
from continual.interop.tuners.settings import TunerConfig, peft_config
from continual.interop.tuners.tuner import Tuner


class Installed:
    """A tuner and the backbone's numbers that it changes.

    Attributes:
        tuner: PEFT's model for the current task.
        budget: AdaLoRA's; None for the others.
        changes: which numbers of the backbone it changes.
    """

    def __init__(
        self,
        network: nn.Module,
        base: FrozenBase,
        config: TunerConfig,
        fields: Mapping[str, Any],
        seed: int,
    ) -> None:
        """Build the tuner of the first task; it is not in place before that begins.

        Args:
            network: the bare backbone.
            base: what it was; afterwards it keeps copies of what is changed.
            config: of the tuner.
            fields: of PEFT's configuration that the backbone decides.
            seed: of the run.

        Raises:
            InputError: PEFT refuses the backbone, or must merge and cannot. The backbone is then as
                it was.
        """
        self._network, self._base, self._config = network, base, config
        self._fields, self._seed = fields, seed
        self._merged: dict[str, Tensor] = {}  # float32, as they were when the task began
        self._lost: dict[str, Tensor] = {}  # float32, what the tuner cannot see of them
        base.copy = copies(base.tensors())  # of everything, until it is known what PEFT changes
        self._build(0)
        try:
            self.changes = Changes(self.tuner, base.tensors(), base.copy)
            if self.is_merged:
                self.changes.check_ties(network, self.tuner)
                self.merged()  # so that what cannot be merged is known now
        except BaseException:
            self.tuner.remove()
            base.undo()
            raise
        kept = self.changes.taking_part if config.mode == MERGE else self.changes.altered
        base.copy = {name: base.copy[name] for name in sorted(kept)}
        base.load(base.copy)  # no task has begun
        if config.mode == MERGE:
            self._merged = {name: tensor.float() for name, tensor in base.copy.items()}
            self._lost = self._rounded_away()

    @property
    def is_merged(self) -> bool:
        """Whether the backbone itself changes, so that only merged weights say what was learned."""
        return self._config.mode == MERGE or bool(self.changes.altered)

    def begin_task(self, task: int) -> None:
        """Put a tuner in place: the first one, the same as before, or in other modes a new one."""
        if task > 0 and self._config.mode == MERGE:
            self._merged = copies(self.merged())
        if self.changes.altered if task == 0 else self._config.mode != THROUGH:
            self._rebuild(task)
        self.tuner.put(True)

    def numbers(self) -> dict[str, Tensor]:
        """Return everything that PEFT has added, and what it changes of the backbone, live."""
        with self.tuner.placed(False):
            live = self._base.tensors()
        return self.tuner.tensors(id(live[name]) for name in self.changes.altered)

    def saved(self) -> dict[str, Tensor]:
        """Return everything needed to become this again, live, by stable names."""
        found = {f"adapters.{n}": t for n, t in self.numbers().items()}
        found |= {f"merged.{n}": t for n, t in self._merged.items()}
        if self.budget is not None:
            found |= {f"budget.{n}": t for n, t in self.budget.tensors().items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor], task: int) -> None:
        """Become the one whose ``saved`` numbers these were during a task.

        Raises:
            InputError: a number is missing, or of another shape.
        """
        self._merged = {name: t.clone() for name, t in part(tensors, "merged.").items()}
        self._rebuild(task)
        if self.budget is not None:
            self.budget.restore(part(tensors, "budget."))
        load(self.numbers(), part(tensors, "adapters."))

    def merged(self) -> dict[str, Tensor]:
        """Return W + ΔW in float32 of every weight that takes part, by its original name.

        Raises:
            InputError: PEFT cannot merge this tuner.
        """
        with self.tuner.placed(False):
            live = self._base.tensors()
        wide = {name: live[name] for name in self.changes.taking_part}
        wide |= {n: t for n, t in self._merged.items() if n not in self.changes.altered}
        found = self.tuner.merged({id(live[name]): tensor for name, tensor in wide.items()})
        return found | {name: found[name] + lost for name, lost in self._lost.items()}

    def _rebuild(self, task: int) -> None:
        self.tuner.remove()
        self._base.load(self._base.copy | self._merged)
        self._build(task)
        self._lost = self._rounded_away()

    def _rounded_away(self) -> dict[str, Tensor]:
        """Return what a tuner that takes a part of a weight out of it misses, before it learns.

        It begins from what the backbone's dtype has left of the float32 weights, and rounds again
        what is left in them.
        """
        self._lost = {}
        altered = self.changes.altered & self._merged.keys()
        fresh = self.merged() if altered else {}
        lost = {n: self._merged[n].to(fresh[n].device) - fresh[n] for n in sorted(altered)}
        return {name: tensor for name, tensor in lost.items() if tensor.any()}

    def _build(self, task: int) -> None:
        seed = seed_of(self._seed, "peft", 0 if self._config.mode == THROUGH else task)
        self.tuner = Tuner(self._network, peft_config(self._config, **self._fields), seed)
        self.budget = RankBudget(self.tuner) if self._config.tuner == "ADALORA" else None
