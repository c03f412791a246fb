"""What an Avalanche strategy cannot train, and what Avalanche has for it."""

from collections.abc import Sequence
from typing import Any

from continual.adapters import Adaptation
from continual.errors import InputError
from continual.interop.tuners.settings import TunerConfig

OWN_WAY = {  # section of a run's settings -> what Avalanche has for it
    "rehearsal": "attach 'lora' and put Avalanche's ReplayPlugin beside this one",
    "ewc": "attach 'lora' and put Avalanche's EWCPlugin behind this one",
    "lwf": "attach 'lora' and put Avalanche's LwFPlugin behind this one",
    "train": "attach 'lora', with Avalanche's JointTraining for 'joint' and the strategy's own "
    "optimiser for an optimiser of pairs",
}


def refuse_loops_own(adaptation: Adaptation) -> None:
    """Raise where a method is more than its adapters, or trains nothing."""
    method = adaptation.method
    if isinstance(adaptation.config, TunerConfig):
        raise InputError(
            f"{method.name!r} is PEFT's own and comes and goes with the tasks of our loop; in "
            "Avalanche, train the model that peft.get_peft_model returns, without this plugin."
        )
    if method.defaults.get("train", {}).get("optimiser") == "loko":
        raise InputError(
            f"method {method.name!r} is a filter in the place of a gradient, which only our own "
            "loop has; use continual.run on from_benchmark(benchmark)."
        )
    needed = [section for section in method.defaults if section in OWN_WAY]
    if needed:
        raise InputError(
            f"method {method.name!r} is an adapter and a way of our loop to train it; in "
            f"Avalanche, {OWN_WAY[needed[0]]}."
        )
    if adaptation.search is not None:
        raise InputError(
            f"method {method.name!r} with these settings searches among choices at the end of "
            "every task, by a validation split that Avalanche's loop has not; use continual.run on "
            "from_benchmark(benchmark), or switch the search off."
        )
    if method.trains == "nothing":
        raise InputError(
            f"method {method.name!r} trains nothing, so there is no step to make; evaluate the "
            "model alone with strategy.eval."
        )


def refuse_strategy(strategy: Any, adaptation: Adaptation) -> None:
    """Raise where the optimiser has several groups, or the strategy another model."""
    groups = len(strategy.optimizer.param_groups)
    if groups != 1:
        raise InputError(
            f"the optimiser has {groups} groups of parameters; an adaptation changes what learns "
            "from task to task, so give it one."
        )
    held = set(map(id, strategy.model.parameters()))
    outside = [n for n, p in adaptation.trainable().items() if id(p) not in held]
    if outside:
        raise InputError(
            f"the strategy's model lacks {len(outside)} parameters of the adaptation, such as "
            f"{outside[0]!r}; attach to this model, with heads that are part of it."
        )


def no_boundaries() -> InputError:
    """Build the error of an online stream that does not say where a task begins."""
    return InputError(
        "the online stream does not show where a task begins, and every method of ours asks; "
        "split it with access_task_boundaries=True."
    )


def not_one_label(adaptation: Adaptation, labels: Sequence[int]) -> InputError:
    """Build the error of a method that must be told the task, and is not."""
    return InputError(
        f"{adaptation.method.name!r} with these settings has numbers of its own for every task and "
        f"must be told the task; the experience has the task labels {list(labels)}. Make the "
        "benchmark with task_incremental_benchmark, or choose a method whose tasks share numbers."
    )


def other_tasks(adaptation: Adaptation, own: int, others: Sequence[int]) -> InputError:
    """Build the error of a batch that would train one task's numbers for another task."""
    return InputError(
        f"{adaptation.method.name!r} with these settings has numbers of its own for every task, "
        f"and a batch of task label {own} has examples of {list(others)}; leave replay and "
        "cumulative training out, or choose a method whose tasks share numbers."
    )
