"""What a model writes freely, and how right that is.

Exact match is 1 where two texts are equal in lower case, with runs of white space made one space,
and without punctuation and white space at either end; punctuation inside counts, so that 3.14 is
not 314. The graded scores are those of `continual.metrics.generation`.
"""

from collections.abc import Callable, Sequence
from string import punctuation, whitespace

from torch import Tensor

from continual.backbone.base import Scored
from continual.backbone.decoding import Reading, follow, greedy
from continual.backbone.encoded import EncodedText
from continual.backbone.passes import WHOLE, Share, by_length
from continual.backbone.text import Codec
from continual.errors import InputError
from continual.metrics.generation import edit_similarity, rouge_l, sari
from continual.scenario import Task

Batch = dict[str, Tensor]


def normalise(text: str) -> str:
    """Return the form in which two answers are compared.

    >>> normalise("  The  Answer: 3.14. ")
    'the answer: 3.14'
    >>> normalise("?!")
    '?!'
    """
    plain = " ".join(text.lower().split())
    return plain.strip(punctuation + whitespace) or plain


def score_generated(
    read: Callable[[Batch], Reading],
    codec: Codec,
    task: Task,
    encoded: EncodedText,
    batch_size: int,
    share: Share = WHOLE,
) -> list[Scored]:
    """Let the model write, and score what it wrote by the target.

    It writes at most as many tokens as the longest target of the split has. ``nats`` are those of
    the target itself.
    """
    targets = encoded.targets
    if targets is None:
        raise InputError(f"the split of task {task.name!r} was encoded without targets.")
    texts = encoded.truths
    if task.labels:
        texts = [task.text_for(truth) for truth in texts]
    steps = int(targets.lengths.max(initial=1))
    found: dict[int, Scored] = {}
    for chosen in by_length(encoded.lengths, batch_size, share):
        batch = encoded.batch(chosen)
        reading = read(batch)
        nats = follow(reading, batch["target_ids"], batch["target_mask"]).tolist()
        rows = greedy(reading, steps, codec.end)
        for item, row, cost in zip(chosen.tolist(), rows, nats, strict=True):
            text = codec.decode(row)
            found[item] = Scored(
                id=encoded.ids[item],
                prediction=text,
                correct=_score(task.score, text, texts[item], encoded.sources[item : item + 1]),
                nats=cost,
                tokens=int(targets.lengths[item]),
            )
    return [found[item] for item in sorted(found)]


def _score(score: str, said: str, wanted: str, sources: Sequence[str]) -> float:
    """Return how right a written text is, in [0, 1]; only sari looks at the source."""
    if score == "rouge_l":
        return rouge_l(said, wanted)
    if score == "edit_similarity":
        return edit_similarity(said, wanted)
    if score == "sari":
        return sari(sources[0], said, [wanted])
    return float(normalise(said) == normalise(wanted))
