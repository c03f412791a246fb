"""Images become what the model was trained on."""

import json

import numpy as np
import pytest
import torch

from continual.backbone.vision import Images

from .conftest import competing, image_task


class Config:
    image_size = 8
    num_channels = 1


class Colour:
    image_size = (4, 4)
    num_channels = 3


def test_a_fitting_image_is_only_normalised():
    """(x - mean) / std, with the statistics of the model."""
    image = np.random.default_rng(0).random((8, 8)).astype("float32")

    found = Images(Config, {"image_mean": [0.3], "image_std": [0.2]}).prepare(image)

    torch.testing.assert_close(found, torch.from_numpy((image - 0.3) / 0.2)[None])


def test_statistics_default_to_one_half():
    """A model without a preprocessor_config.json gets values in [-1, 1]."""
    found = Images(Config, {}).prepare(np.ones((8, 8), dtype="float32"))

    assert torch.equal(found, torch.ones(1, 8, 8))


def test_normalisation_can_be_switched_off():
    """do_normalize false leaves [0, 1]."""
    found = Images(Config, {"do_normalize": False}).prepare(np.ones((8, 8), dtype="float32"))

    assert torch.equal(found, torch.ones(1, 8, 8))


def test_a_grey_image_fills_three_channels():
    """Channels are equal before normalisation."""
    statistics = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}

    found = Images(Colour, statistics).prepare(np.full((4, 4), 0.25, dtype="float32"))

    assert torch.equal(found, torch.full((3, 4, 4), 0.25))


def test_colours_are_weighed_into_grey():
    """Pure red counts 0.299."""
    image = np.zeros((8, 8, 3), dtype="float32")
    image[..., 0] = 1.0

    found = Images(Config, {"image_mean": [0.0], "image_std": [1.0]}).prepare(image)

    torch.testing.assert_close(found, torch.full((1, 8, 8), 0.299))


def test_a_shrunk_image_is_smoothed():
    """Fine stripes become grey instead of one of their colours."""
    stripes = np.tile(np.array([0.0, 1.0], dtype="float32"), (32, 16))

    found = Images(Config, {"image_mean": [0.0], "image_std": [1.0]}).prepare(stripes)

    assert found.shape == (1, 8, 8)
    torch.testing.assert_close(found, torch.full((1, 8, 8), 0.5), atol=0.1, rtol=0.0)


def test_images_beyond_memory_are_prepared_per_batch(backbone, grey_rows, monkeypatch):
    """Batches are the same whether or not the prepared images are kept."""
    model, task = backbone("vit"), image_task(grey_rows)
    split = task.load().test

    kept = model.encode(task, split).batch([3, 0])
    monkeypatch.setattr("continual.backbone.vision.KEPT_BYTES", 0)
    made = model.encode(task, split).batch([3, 0])

    assert torch.equal(kept["pixels"], made["pixels"])
    assert torch.equal(kept["label"], made["label"])


def test_the_feature_is_the_cls_token(backbone, grey_rows):
    """The head reads the first output token of the transformer."""
    model, task = backbone("vit"), image_task(grey_rows)
    candidates = competing(task)
    model.begin_experience(candidates, 0)
    batch = model.encode(task, task.load().test).batch(range(5))

    with torch.no_grad():
        feature = model.model(pixel_values=batch["pixels"]).last_hidden_state[:, 0]
        logits = model.heads.logits(feature, "topics", task.labels)
        total, _ = model.loss(batch, candidates, False)

    slow = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="sum")
    assert total.item() == pytest.approx(slow.item(), rel=1e-5)


def test_image_statistics_are_saved(backbone, tmp_path):
    """A merged export carries its preprocessor configuration."""
    backbone("vit").save_pretrained(tmp_path / "out")

    found = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (found["image_mean"], found["image_std"]) == ([0.3], [0.2])


def test_prepared_images_of_all_splits_share_one_budget(backbone, grey_rows, monkeypatch):
    """A split that no longer fits beside the others is prepared per batch; a dropped one frees."""
    model, task = backbone("vit"), image_task(grey_rows)
    split = task.load().test
    size = 4 * len(split) * model.images.channels * model.images.size[0] * model.images.size[1]
    monkeypatch.setattr("continual.backbone.vision.KEPT_BYTES", 2 * size)

    first, second, third = (model.encode(task, split) for _ in range(3))
    kept = [first.size, second.size, third.size]
    del first

    assert kept == [size, size, 0]
    assert model.encode(task, split).size == size
    assert torch.equal(second.batch([1])["pixels"], third.batch([1])["pixels"])
