"""Retained accuracy, forgetting and perplexity drift beside transformers' own Trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from continual.adapters import Adaptation
from continual.errors import InputError
from continual.interop.trainer.book import Book
from continual.interop.trainer.plan import make_plan
from continual.interop.trainer.watch import Call, Watch
from continual.records import RunRecord
from continual.records.sections import section_problems
from continual.scenario import Scenario, load_scenario, with_data
from continual.trackers.settings import EvaluationSettings

KEY = "continual"  # of what a Trainer's checkpoint says about us
RECORDED = (  # of the training's settings
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "weight_decay",
    "max_grad_norm",
    "lr_scheduler_type",
    "warmup_steps",
    "optim",
    "bf16",
    "fp16",
)


class ForgettingCallback(TrainerCallback):
    """Records what a model under a ``Trainer`` learns and forgets, as a run directory of ours.

    The tests and probes of a scenario are asked before training and at the end of every ``train()``
    call, which is one experience; with ``evaluation={"steps": N}`` also every N optimiser steps.
    Training itself is not changed: weights are bit for bit those of a Trainer without the callback.
    The same directory goes on with further calls, in this process or another one.

    Args:
        scenario: whose tests and probes are asked: a scenario, a name of the catalogue or a file.
        out: the run directory: created, or continued.
        data: a folder to read the scenario's data from, as ``--data`` of a run.
        learns: what the ``train()`` calls learn, in order: tasks of the scenario, or names of what
            it has no test of. Left out: its tasks, in its order. Its other tasks are what the model
            could do before, and count as learned before training began.
        method: the name in reports; left out: that of ``adaptation``, else "trainer".
        backbone: the model's name in reports; left out: what transformers loaded it as.
        tokenizer: left out: the Trainer's ``processing_class``.
        adaptation: of ``continual.attach``, where one of our methods is on the model; tasks are
            then served as that method serves them.
        evaluation: settings by name, as ``evaluation.NAME`` of a run: batch_size, sample, steps,
            policy, every, probe_window, probe_stride.
        max_length: tokens per example; left out: what the model has room for, at most 1024.
        quiet: say nothing on stderr after an experience.

    Raises:
        InputError: settings, a scenario or a directory that cannot be used. When training begins:
            a model that is no language model with a fast tokenizer, sharded weights, a
            hyper-parameter search, a directory that has recorded all calls, or a checkpoint that
            was not recorded there. Nothing is trained then.
    """

    def __init__(
        self,
        scenario: Scenario | str | Path,
        out: str | Path,
        *,
        data: str | Path | None = None,
        learns: str | Sequence[str] | None = None,
        method: str | None = None,
        backbone: str = "",
        tokenizer: Any = None,
        adaptation: Adaptation | None = None,
        evaluation: Mapping[str, Any] | None = None,
        max_length: int | None = None,
        quiet: bool = False,
    ) -> None:
        found = scenario if isinstance(scenario, Scenario) else load_scenario(str(scenario))
        found = found if data is None else with_data(found, data)
        checks = _evaluation(evaluation or {})
        attached = "trainer" if adaptation is None else adaptation.method.name
        settings = {
            "method": method or attached,
            "backbone_options": {"max_length": max_length},
            "evaluation": checks.model_dump(mode="json"),
        }
        self.out = Path(out)
        self._tokenizer, self._steps = tokenizer, checks.steps
        self._watch = Watch(
            Book(self.out, make_plan(found, learns), settings),
            checks,
            adaptation=adaptation,
            backbone=backbone,
            max_length=max_length,
            quiet=quiet,
        )

    @property
    def record(self) -> RunRecord:
        """What is recorded so far."""
        return RunRecord.open(self.out)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe the model before training where that was not done."""
        _refuse(args, state)
        if not state.is_world_process_zero:
            return
        carried: Any = state.stateful_callbacks  # is written into checkpoints as it is
        told = carried[KEY]["experience"] if state.global_step and KEY in carried else None
        self._watch.begin(
            Call(
                model=kwargs["model"],
                tokenizer=self._tokenizer or kwargs["processing_class"],
                autocast=torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
                seed=args.seed,
                train={name: args.to_dict()[name] for name in RECORDED},
                step=state.global_step,
                steps=state.max_steps,
                experience=told,
            )
        )
        carried[KEY] = {"experience": self._watch.experience if told is None else told}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe within the experience, where that is asked for."""
        step = state.global_step
        due = self._steps is not None and step % self._steps == 0 and step < state.max_steps
        if due and state.is_world_process_zero:
            self._watch.within(step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write down loss and rate."""
        if state.is_world_process_zero and logs is not None and "loss" in logs:
            event = {"step": state.global_step, "loss": float(logs["loss"])}
            self._watch.log(event | {"lr": float(logs.get("learning_rate", 0.0))})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe what is left."""
        if state.is_world_process_zero:
            self._watch.end(state.global_step)


def _evaluation(given: Mapping[str, Any]) -> EvaluationSettings:
    problems = section_problems(EvaluationSettings, given, "evaluation")
    if problems:
        raise InputError("\n".join(problems))
    checks = EvaluationSettings(**given)
    if checks.intruders:
        raise InputError("evaluation.intruders looks at adapters of a run; leave it out here.")
    return checks


def _refuse(args: TrainingArguments, state: TrainerState) -> None:
    """Raise ``InputError`` where the model cannot be asked by one process, or is many models."""
    if args.fsdp or args.deepspeed:
        raise InputError(
            "ForgettingCallback asks the model in one process, and under FSDP or DeepSpeed no "
            "process has all of it; train on one device or with plain data parallelism."
        )
    if state.is_hyper_param_search:
        raise InputError(
            "ForgettingCallback records one training, and a hyper-parameter search makes many; "
            "add it to the training with the chosen values."
        )
