"""A loss that is no number: what the error says."""

from collections.abc import Mapping, Sequence

from continual.training.lesson import Portion

MAX_NAMED_EXAMPLES = 5


class NonFiniteLossError(RuntimeError):
    """The loss is not a number any more; nothing was saved since, and the run can be resumed."""


def non_finite(i: int, step: int, costs: Mapping[str, float], portions: Sequence[Portion]) -> str:
    """Return what there is to know: where it was, what each term costs, which examples."""
    own = portions[0]
    names = [own.lesson.encoded.ids[k] for k in own.chosen[:MAX_NAMED_EXAMPLES]]
    terms = ", ".join(f"{name} {cost}" for name, cost in costs.items())
    return (
        f"the loss is not finite on task {own.lesson.task.name!r} (experience {i}) at step {step}: "
        f"{terms}; its batch has {len(own.chosen)} examples, the first are {names}. Nothing of it "
        "was saved and the last checkpoint is whole. Look at those examples and run the same "
        "command again; or lower train.lr, which needs a new directory."
    )
