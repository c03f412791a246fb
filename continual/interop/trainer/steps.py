"""One of our methods under transformers' own Trainer: its penalty and its moments of a step."""

from typing import Any

from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from continual.adapters import Adaptation
from continual.adapters.moments import forget
from continual.errors import InputError


class AdaptationCallback(TrainerCallback):
    """Does in a Trainer's step what a method needs: a Trainer for each task, begun before it.

        adaptation.begin_task(0)
        Trainer(model, args, callbacks=[AdaptationCallback(adaptation)], ...).train()

    Before the forward pass the method draws what a step has in common, and the gradient of its
    penalty is added, once however many micro-batches there are; before the optimiser it changes its
    gradients, after the optimiser it finishes the step. The loss that a Trainer prints is without
    the penalty. A Trainer clips gradients before the method changes them, our own loop after.

    Raises:
        InputError: when training begins: no task was begun, an optimiser over other parameters
            than those that learn, float16 (whose loss is scaled and the penalty not), several
            processes, or a method that must look at the data first, trains nothing, or is more than
            its adapters.
    """

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation = adaptation

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse what would train something else."""
        name = self.adaptation.method.name
        if self.adaptation.task < 0:
            raise InputError(f"{name!r} has begun no task; call begin_task(0) before train().")
        if args.fp16 or args.world_size > 1 or args.n_gpu > 1:
            raise InputError(
                "AdaptationCallback adds the penalty's gradient in one process and unscaled; train "
                "in float32 or bfloat16, on one device."
            )
        if self.adaptation.looks_at:
            raise InputError(
                f"{name!r} looks at inputs of a task before it learns, which a Trainer does not "
                "show it; use `continual run`, or your own loop with adaptation.looking()."
            )
        if self.adaptation.method.defaults or self.adaptation.search is not None:
            raise InputError(
                f"{name!r} with these settings is an adapter and a way of our loop to train it "
                "(examples kept, an optimiser, a search), which a Trainer has not; attach 'lora', "
                "or use `continual run`."
            )
        if self.adaptation.method.trains == "nothing":
            raise InputError(f"{name!r} trains nothing; evaluate the model without training it.")
        learning = set(map(id, self.adaptation.trainable().values()))
        groups = kwargs["optimizer"].param_groups
        if {id(parameter) for group in groups for parameter in group["params"]} != learning:
            raise InputError(
                "this Trainer's optimiser holds other parameters than those that learn now. Call "
                "begin_task before the Trainer trains, and make a new Trainer for every task."
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw what the step has in common, and leave the gradient of the penalty."""
        kwargs["model"].train()  # as the Trainer does just after this
        self.adaptation.before_step()
        penalty = self.adaptation.penalty()
        if penalty.requires_grad:
            penalty.backward()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the method change its gradients."""
        self.adaptation.after_backward()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the method finish the step; moments of what began anew are forgotten."""
        optimiser = kwargs["optimizer"]
        forget(optimiser, self.adaptation.after_step(optimiser.param_groups[0]["lr"]))
