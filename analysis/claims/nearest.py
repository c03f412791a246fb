"""The control that trains nothing: class means of the untouched network's features (SimpleCIL).

    python analysis/claims/nearest.py --data DATA/vision --runs RUNS

A picture is of the class whose mean over the training pictures has the smallest angle to it, among
all classes of the sequence (Zhou et al. 2023, arXiv:2303.07338). No seed is in it, but the order
of the classes decides which of them are one task, over which accuracies are averaged: an accuracy
per order is written into RUNS/<sequence>/nearest.json, where verdicts.py reads it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from study import vision
from torch.nn.functional import normalize

from continual import Scenario, load_backbone
from continual.backbone import Backbone
from continual.scenario import Split


def features(backbone: Backbone, split: Split) -> torch.Tensor:
    """Return (n, d) features of length one of a split's pictures."""
    images = backbone.images  # of the one vision backbone that there is
    pixels = torch.stack([images.prepare(example.image) for example in split])
    with torch.inference_mode():
        return normalize(backbone.features({"pixels": pixels}), dim=1)


def average_accuracy(scenario: Scenario, backbone: Backbone) -> float:
    """Return the mean over tasks of the accuracy among all classes."""
    means: list[torch.Tensor] = []
    names: list[str] = []
    tests = []
    for task in scenario.tasks:
        loaded = task.load()
        known, truths = features(backbone, loaded.train), np.array(loaded.train.column("label"))
        for label in sorted(set(truths)):
            names.append(task.labels[label])
            means.append(normalize(known[truths == label].mean(0), dim=0))
        tests.append((features(backbone, loaded.test), loaded.test.column("label"), task.labels))
    if len(set(names)) != len(names):
        raise SystemExit(f"{scenario.name}: a class is in two tasks.")
    every = torch.stack(means)
    return float(
        np.mean(
            [
                np.mean([names[k] == labels[t] for k, t in zip(near, truths, strict=True)])
                for own, truths, labels in tests
                for near in ((own @ every.T).argmax(1).tolist(),)
            ]
        )
    )


def main() -> None:
    """Look at every sequence in every order."""
    parser = argparse.ArgumentParser(description="Nearest class means of untouched features.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--runs", type=Path, required=True, help="folder of study.py")
    given = parser.parse_args()
    backbone = load_backbone("tiny-vit")
    found: dict[str, list[float]] = {}
    for name, (scenario, _, _) in vision(given.data).items():
        accuracy = average_accuracy(scenario, backbone)
        found.setdefault(name.split("/")[0], []).append(accuracy)
        print(f"{name}: {accuracy:.3f}")
    for name, values in found.items():
        (given.runs / name / "nearest.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
