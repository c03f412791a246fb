"""The training loss: sums of nats over target tokens, with the vocabulary projected there only."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from continual.errors import InputError

from .conftest import SENTENCES, competing, text_task


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_the_loss_is_the_score_of_the_truth(backbone, family):
    """One convention for learning and for ranking: the same nats over the same tokens."""
    model, task = backbone(family), text_task()
    encoded = model.encode(task, task.load().test)

    total, count = model.loss(encoded.batch(range(5)), None, False)
    scored = model.score(task, encoded, competing(task), 2)

    assert count == sum(one.tokens for one in scored) == int(encoded.targets.lengths.sum())
    assert total.item() == pytest.approx(sum(one.nats for one in scored), rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_the_loss_of_a_batch_is_the_sum_over_its_examples(backbone, family):
    """Padding is invisible, also where the pad token is the unknown or the end token."""
    model, task = backbone(family), text_task()
    encoded = model.encode(task, task.load().test)

    whole, count = model.loss(encoded.batch(range(5)), None, False)
    parts = [model.loss(encoded.batch([k]), None, False) for k in range(5)]

    assert count == sum(part for _, part in parts)
    assert whole.item() == pytest.approx(sum(one.item() for one, _ in parts), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_gradient_is_that_of_the_slow_loss(backbone, family):
    """The gradient equals the one of a plain forward over each unpadded example."""
    model, task = backbone(family), text_task()
    encoded = model.encode(task, task.load().test)
    model.model.requires_grad_(True)

    model.loss(encoded.batch(range(5)), None, False)[0].backward()
    fast = {name: weight.grad.clone() for name, weight in model.model.named_parameters()}
    model.model.zero_grad()
    for k in range(5):
        batch = encoded.batch([k])
        ids = torch.cat([batch["prompt_ids"], batch["target_ids"]], dim=1)
        logits = model.model(input_ids=ids).logits[0, batch["prompt_ids"].shape[1] - 1 : -1]
        cross_entropy(logits, batch["target_ids"][0], reduction="sum").backward()

    for name, weight in model.model.named_parameters():
        torch.testing.assert_close(fast[name], weight.grad, rtol=1e-3, atol=1e-3)


def test_the_vocabulary_is_projected_at_target_positions_only(backbone):
    """The output layer sees as many columns as the longest target has, and no prompt."""
    model, task = backbone("llama"), text_task()
    encoded = model.encode(task, task.load().test)
    seen = []
    model.model.lm_head.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))

    model.loss(encoded.batch(range(5)), None, False)

    assert seen == [(5, int(encoded.targets.lengths.max()), 32)]


def documents_task(texts):
    rows = [{"text": text} for text in texts]
    return text_task(rows, kind="language-modeling", labels=(), prompt="{text}\nAnswer:")


def test_every_token_of_a_document_is_learned_once(backbone):
    """Windows cut a document, keep one token of context, and never mix documents."""
    model = backbone("llama", max_length=16)
    task = documents_task([*SENTENCES, " ".join(SENTENCES)])
    split = task.load().train

    encoded = model.encode(task, split)

    tokens = [model.codec.ids(example.text) for example in split]
    counts = [-(-len(row) // 16) for row in tokens]
    names = [
        f"{example.id}#{k}" if k else example.id
        for example, count in zip(split, counts, strict=True)
        for k in range(count)
    ]
    assert encoded.ids == names
    assert encoded.targets.flat.tolist() == [token for row in tokens for token in row]
    assert (encoded.prompts.lengths == 1).all()
    assert encoded.prompts.flat[0] == model.codec.start
    assert int(encoded.targets.lengths.max()) <= 16


def test_token_accuracy_counts_correct_next_tokens(backbone):
    """Each window's fraction and nats equal the plain forward's, whatever the batch size."""
    model = backbone("gpt2", max_length=16)
    task = documents_task(SENTENCES)
    encoded = model.encode(task, task.load().test)

    scored = model.score(task, encoded, None, 3)

    assert [one.id for one in scored] == encoded.ids
    for k, one in enumerate(scored):
        batch = encoded.batch([k])
        fed = torch.cat([batch["prompt_ids"], batch["target_ids"][:, :-1]], dim=1)
        with torch.no_grad():
            logits = model.model(input_ids=fed).logits[0]
        wanted = batch["target_ids"][0]
        assert one.tokens == len(wanted)
        assert one.correct == pytest.approx((logits.argmax(-1) == wanted).double().mean().item())
        slow = cross_entropy(logits.double(), wanted, reduction="sum").item()
        assert one.nats == pytest.approx(slow, rel=1e-5)


def test_dropout_sleeps_while_scoring_and_wakes_after(backbone):
    """Scoring leaves the training mode of every module as it was."""
    model, task = backbone("gpt2"), text_task()
    encoded = model.encode(task, task.load().test)
    model.train()
    model.model.lm_head.eval()

    first = model.score(task, encoded, competing(task), 2)

    assert model.score(task, encoded, competing(task), 2) == first
    assert model.training
    assert not model.model.lm_head.training


@pytest.mark.parametrize(
    ("family", "kind"),
    [("t5", "language-modeling"), ("bert", "text-generation"), ("vit", "text-classification")],
)
def test_a_kind_that_a_family_cannot_learn_is_refused(backbone, family, kind):
    """The message names the kinds that it can learn."""
    model = backbone(family)
    plain = {"labels": (), "prompt": "{text}\nAnswer:"}
    options = {"language-modeling": plain, "text-generation": plain}
    rows = [{"text": "a", "target": "b", "label": "sports"}]
    task = text_task(rows, kind=kind, **options.get(kind, {}))

    with pytest.raises(InputError, match=f"cannot learn task 'topics' of kind '{kind}'"):
        model.encode(task, task.load().test)
