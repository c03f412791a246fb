"""A method of ours inside an Avalanche strategy, with the strategy's own loop and optimiser.

    before_training_exp     begin the task, as heads have grown; look at inputs where a method must;
                            fresh moments over exactly the trainable numbers
    before_forward          what one step has in common is drawn
    before_backward         the penalty joins the loss, once
    after_backward          gradients of layers that rest
    after_update            proximal steps; restarts, whose moments are forgotten
    before_eval_exp         the task of the experience's label is served

Gradients are clipped, if at all, by plugins behind this one.
"""

from contextlib import ExitStack
from typing import Any

from avalanche.benchmarks.scenarios import OnlineCLExperience
from avalanche.core import SupervisedPlugin

from continual.adapters import Adaptation
from continual.adapters.moments import forget
from continual.backbone.passes import evaluating
from continual.interop.avalanche.refusals import (
    no_boundaries,
    not_one_label,
    other_tasks,
    refuse_loops_own,
    refuse_strategy,
)


class AdapterPlugin(SupervisedPlugin, supports_distributed=False):
    """Lets an Avalanche strategy train an adaptation of its model.

    Every train experience begins a task; of an online stream that shows its boundaries, the first
    part of one does. The optimiser may be made from any parameters of the model, in one group.
    """

    def __init__(self, adaptation: Adaptation) -> None:
        """Take an adaptation of the strategy's model, or of a part of it.

        Args:
            adaptation: of ``continual.attach``.

        Raises:
            InputError: a method that is more than its adapters, or trains nothing.
        """
        super().__init__()
        refuse_loops_own(adaptation)
        self.adaptation = adaptation
        self._tasks: dict[int, int] = {}  # task label -> the task last begun with it
        self._serving = ExitStack()

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse what cannot be trained, before anything is.

        Raises:
            InputError: an optimiser of several groups, or a strategy with another model.
        """
        refuse_strategy(strategy, self.adaptation)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin the task; Avalanche has let heads grow and put every parameter in the optimiser.

        Raises:
            InputError: an online stream without boundaries, or a method that must be told the task
                and an experience without one task label.
        """
        if self._goes_on(strategy.experience):
            self._give(strategy)
            return
        label = self._label(strategy.experience) if self._needs_task else None
        self.adaptation.begin_task(self.adaptation.task + 1)
        if label is not None:
            self._tasks[label] = self.adaptation.task
        if self.adaptation.looks_at:
            self._look(strategy)
        strategy.optimizer.state.clear()
        self._give(strategy)

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Draw what the step has in common.

        Raises:
            InputError: a method that must be told the task, and examples of another task.
        """
        if self._needs_task:
            self._refuse_other_tasks(strategy)
        self._give(strategy)
        self.adaptation.before_step()

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        strategy.loss = strategy.loss + self.adaptation.penalty()

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Let every adapter change its gradients."""
        self.adaptation.after_backward()

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Finish the optimiser's step, and forget the moments of what began anew."""
        rate = strategy.optimizer.param_groups[0]["lr"]
        forget(strategy.optimizer, self.adaptation.after_step(rate))

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the task of the experience's label; one that has not begun is the next one.

        Raises:
            InputError: a method that must be told the task, and not one task label.
        """
        self._serving.close()  # an evaluation that failed may have left it open
        if self._needs_task:
            label = self._label(strategy.experience)
            task = self._tasks.get(label, self.adaptation.task + 1)
            self._serving.enter_context(self.adaptation.serving(task))

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the current task again."""
        self._serving.close()

    @property
    def _needs_task(self) -> bool:
        method, config = self.adaptation.method, self.adaptation.config
        return method.adapter is not None and method.adapter.needs_task(config)

    def _goes_on(self, experience: Any) -> bool:
        """Say whether an experience continues the task of the one before."""
        if not isinstance(experience, OnlineCLExperience):
            return False
        if not experience.access_task_boundaries:
            raise no_boundaries()
        return not experience.is_first_subexp

    def _label(self, experience: Any) -> int:
        try:
            labels = sorted(set(experience.task_labels))
        except AttributeError:
            labels = []
        if len(labels) != 1:
            raise not_one_label(self.adaptation, labels)
        return int(labels[0])

    def _refuse_other_tasks(self, strategy: Any) -> None:
        own = self._label(strategy.experience)
        others = sorted(set(strategy.mb_task_id.tolist()) - {own})
        if others:
            raise other_tasks(self.adaptation, own, others)

    def _look(self, strategy: Any) -> None:
        """Show the adapters inputs of the first batches; nothing learns."""
        seen = 0
        with self.adaptation.looking(), evaluating(strategy.model):
            for batch in strategy.dataloader:
                strategy.mbatch = batch
                strategy._unpack_minibatch()
                strategy.forward()
                seen += len(strategy.mb_y)
                if seen >= self.adaptation.looks_at:
                    break
        strategy.mbatch = None

    def _give(self, strategy: Any) -> None:
        """Give the optimiser exactly the trainable parameters, ordered by name.

        Asked at every step, since an evaluation within a task lets Avalanche's heads grow, which
        replaces their parameters.
        """
        trainable = self.adaptation.trainable()
        wanted = [trainable[name] for name in sorted(trainable)]
        group = strategy.optimizer.param_groups[0]
        if [id(p) for p in group["params"]] != [id(p) for p in wanted]:
            kept = set(map(id, wanted))
            for parameter in [p for p in strategy.optimizer.state if id(p) not in kept]:
                del strategy.optimizer.state[parameter]
            group["params"] = wanted
