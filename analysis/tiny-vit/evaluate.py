"""Do the frozen features of tiny-vit know more about handwriting than raw pixels do?

    python analysis/tiny-vit/evaluate.py --out analysis/tiny-vit/results.json

scikit-learn's 1,797 handwritten digits, which the network never saw, are split into five folds
(image k is in fold k mod 5), and the accuracy is the mean over them. A nearest-class-mean
classifier is fitted on raw pixels and on the CLS token of the frozen network, with Euclidean
distance and with cosine similarity.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from continual.backbone import load_backbone


def nearest_class_mean(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, cosine: bool
) -> np.ndarray:
    """Return the class whose mean is nearest to each test row.

    Args:
        train: (n, d) features.
        labels: (n,) classes from 0.
        test: (k, d) features.
        cosine: whether near means a small angle instead of a small distance.
    """
    if cosine:
        train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    means = np.stack([train[labels == c].mean(0) for c in range(labels.max() + 1)])
    if cosine:
        return (test @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    return ((test[:, None] - means[None]) ** 2).sum(-1).argmin(1)


def features(images: np.ndarray) -> np.ndarray:
    """Return the CLS token (n, width) of images (n, 8, 8) in [0, 1], as our heads see it."""
    backbone = load_backbone("tiny-vit")
    pixels = torch.stack([backbone.images.prepare(image) for image in images])
    with torch.inference_mode():
        return backbone.model(pixel_values=pixels).last_hidden_state[:, 0].numpy()


def compare() -> dict[str, float]:
    """Return the mean test accuracy over five folds of each kind of feature under each distance."""
    data = load_digits()
    images, labels = data.images / 16.0, data.target
    found = {}
    for name, rows in (("pixels", images.reshape(len(images), -1)), ("cls", features(images))):
        for cosine in (False, True):
            right = []
            for fold in range(5):
                test = np.arange(len(labels)) % 5 == fold
                said = nearest_class_mean(rows[~test], labels[~test], rows[test], cosine)
                right.append((said == labels[test]).mean())
            distance = "cosine" if cosine else "euclidean"
            found[f"{name}, {distance}"] = round(float(np.mean(right)), 4)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Nearest class mean on digits.")
    parser.add_argument("--training", type=Path, help="training.json of pretrain.py's --work")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, object] = {"nearest class mean on digits": compare()}
    if given.training:
        result["training"] = json.loads(given.training.read_text())
    print(json.dumps(result, indent=1))
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
