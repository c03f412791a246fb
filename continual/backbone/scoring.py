"""The scores of language models and of heads, example by example.

Classification with a language model ranks the candidates by their summed log-probability after the
prompt (accuracy), or lets the model write freely (`continual.backbone.written`).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import Tensor

from continual.backbone.base import Answers, Encoded, Scored
from continual.backbone.decoding import Reading, rank, token_nats
from continual.backbone.encoded import EncodedText
from continual.backbone.heads import Heads
from continual.backbone.passes import WHOLE, Share, by_length, scored_task
from continual.backbone.text import Codec
from continual.errors import InputError
from continual.scenario import Candidates, Task

Batch = dict[str, Tensor]


def score_ranked(
    read: Callable[[Batch], Reading],
    codec: Codec,
    task: Task,
    encoded: EncodedText,
    candidates: Candidates | None,
    batch_size: int,
    limit: int | None,
    space: bool,
    share: Share = WHOLE,
) -> list[Scored]:
    """Rank the candidates of every example by log-probability.

    Args:
        read: makes one forward pass over a batch of prompts.
        codec: the tokenizer.
        task: names what cannot be scored.
        encoded: the split.
        candidates: what competes.
        batch_size: prompts at a time.
        limit: positions that prompt and answer share, or None.
        space: whether an answer follows the prompt's last token, after a space.
        share: which examples.
    """
    candidates = scored_task(task, candidates)
    truths = truth_columns(task, encoded.truths, candidates)
    answers = codec.targets(candidates.texts, space=space)
    lengths = np.array([len(answer) for answer in answers])
    _check_room(task, encoded, int(lengths.max()), limit)
    found: dict[int, Scored] = {}
    for chosen in by_length(encoded.lengths, batch_size, share):
        table = rank(read(encoded.batch(chosen)), answers).cpu().numpy()
        for item, row in zip(chosen.tolist(), table, strict=True):
            best, true = int(row.argmax()), int(truths[item])
            found[item] = Scored(
                id=encoded.ids[item],
                prediction=candidates.labels[best],
                correct=float(best == true),
                nats=float(-row[true]),
                tokens=int(lengths[true]),
            )
    return [found[item] for item in sorted(found)]


def score_tokens(
    predict: Callable[[Batch], Tensor],
    encoded: EncodedText,
    batch_size: int,
    share: Share = WHOLE,
) -> list[Scored]:
    """Score every token of running text; ``correct`` is the fraction predicted right."""
    found: dict[int, Scored] = {}
    for chosen in by_length(encoded.lengths, batch_size, share):
        batch = encoded.batch(chosen)
        logits, mask = predict(batch), batch["target_mask"]
        nats = (token_nats(logits, batch["target_ids"]).double() * mask).sum(-1).tolist()
        hits = ((logits.argmax(-1) == batch["target_ids"]) * mask).sum(-1).tolist()
        counts = mask.sum(-1).tolist()
        for item, cost, hit, count in zip(chosen.tolist(), nats, hits, counts, strict=True):
            found[item] = Scored(
                id=encoded.ids[item], prediction="", correct=hit / count, nats=cost, tokens=count
            )
    return [found[item] for item in sorted(found)]


def score_heads(
    features: Callable[[Batch], Tensor],
    heads: Heads,
    task: Task,
    encoded: Encoded,
    truths: list[str],
    candidates: Candidates | None,
    batch_size: int,
    share: Share = WHOLE,
) -> list[Scored]:
    """Score every example by the head of the candidates; ``nats`` are over those classes."""
    candidates = scored_task(task, candidates)
    columns = truth_columns(task, truths, candidates)
    found: dict[int, Scored] = {}
    for chosen in by_length(encoded.lengths, batch_size, share):
        logits = heads.logits(features(encoded.batch(chosen)), candidates.head, candidates.labels)
        table = logits.double().log_softmax(-1).cpu().numpy()
        for item, row in zip(chosen.tolist(), table, strict=True):
            best, true = int(row.argmax()), int(columns[item])
            found[item] = Scored(
                id=encoded.ids[item],
                prediction=candidates.labels[best],
                correct=float(best == true),
                nats=float(-row[true]),
                tokens=1,
            )
    return [found[item] for item in sorted(found)]


def spoken(logits: Tensor, batch: Batch, beside: bool) -> Answers:
    """Return the answers of a language model, given logits (B, T, V) of its target tokens."""
    rows, said, truth = batch["target_rows"], logits.flatten(0, 1), batch["target_ids"].flatten()
    if len(rows) < len(said):  # padding among them; where there is none, nothing is copied
        said, truth = said[rows], truth[rows]
    said = said.float()
    return Answers(logits=said, truth=truth, beside=(said,) if beside else ())


def truth_columns(task: Task, truths: Iterable[str], candidates: Candidates) -> np.ndarray:
    """Return the candidate index of every true class.

    Raises:
        InputError: a true class that is not among the candidates.
    """
    place = {label: k for k, label in enumerate(candidates.labels)}
    truths = list(truths)
    missing = sorted(set(truths) - set(place))
    if missing:
        raise InputError(
            f"the classes {missing} of task {task.name!r} are not among its candidates "
            f"{list(candidates.labels)}; score it with the candidates of its own task."
        )
    return np.array([place[truth] for truth in truths], dtype=np.int64)


def _check_room(task: Task, encoded: EncodedText, answer: int, limit: int | None) -> None:
    longest = int(encoded.prompts.lengths.max(initial=0))
    if limit is not None and longest + answer > limit:
        raise InputError(
            f"the longest prompt of task {task.name!r} has {longest} tokens and the longest "
            f"candidate {answer}, more than the {limit} positions of this backbone; lower "
            f"max_length by {longest + answer - limit}."
        )


def head_answers(
    heads: Heads,
    features: Tensor,
    numbers: Tensor,
    candidates: Candidates | None,
    current_only: bool,
    known: Sequence[Candidates],
) -> Answers:
    """Return what heads say to features (B, d) whose true labels are ``numbers`` (B,).

    Raises:
        InputError: no candidates, or a label that does not compete.
    """
    if candidates is None:
        raise InputError("a backbone with a head learns classes; its loss needs candidates.")
    if current_only:
        candidates = Candidates(
            head=candidates.head,
            labels=tuple(candidates.labels[k] for k in candidates.current),
            texts=tuple(candidates.texts[k] for k in candidates.current),
            current=tuple(range(len(candidates.current))),
        )
    return Answers(
        logits=heads.logits(features, candidates.head, candidates.labels),
        truth=heads.columns(numbers, candidates),
        beside=tuple(heads.logits(features, one.head, one.labels) for one in known),
    )
