"""The cases under which PEFT's tests see our methods; copied beside PEFT's tests and run there.

``pytest.mark.parametrize`` keeps the lists that it was given, so they are changed in place before
the test classes are collected. Which methods is told by the environment.
"""

import os

import torch

from continual.interop.peft_types import register
from tests import test_custom_models as theirs
from tests.test_custom_models import (  # noqa: F401
    TestDefaultTargetModules,
    TestMultipleActiveAdapters,
    TestPeftCustomModel,
    TestPeftFsdpStateDict,
    TestRequiresGrad,
)

SETTINGS = {  # what a layer of two or of one output needs, and what is not the default
    "curlora": {"alpha": 3.0, "lam": 0.1},
    "nlora": {"alpha": 3.0},
    "melora": {"parts": 1},
    "dota": {"cores": 2},  # this and what follows: else the tests' large steps end in NaN
    "loretta": {"alpha": 1.0},
    "qr-lora": {"alpha": 1.0},
    "sora": {"alpha": 1.0},
}
ONE_OUTPUT = {  # else a few steps of so few numbers are lost in the tests' tolerance
    "curlora": {"alpha": 100.0},
    "glora": {"a": "vector", "b": "vector", "c": "vector", "d": "none"},  # its bias is zero
    "loretta": {"alpha": 16.0},
}


def cases(method):
    """Return PEFT's rows for one method: names, models, classes and settings."""
    kind = register(method)
    own = {"rank": 2, **SETTINGS.get(method, {})}
    rows = [
        ("MLP 1", "MLP", {"target_modules": "lin0", **own}),
        ("MLP 2", "MLP", {"target_modules": ["lin0"], "seed": 3, **own}),
        ("MLP 3", "MLP", {"target_modules": ["lin0", "lin1"], **own}),
        ("MLP 4", "MLP", {"target_modules": ["lin0"], "modules_to_save": ["lin1"], **own}),
        ("MLP 5", "MLP", {"target_modules": r".*lin.", "exclude_modules": ["lin1"], **own}),
        (
            "Conv1D",
            "EmbConv1D",
            {"target_modules": ["conv1d"], **own, **ONE_OUTPUT.get(method, {}), "rank": 1},
        ),
    ]
    return [(f"{method} {name}", model, kind, kwargs) for name, model, kwargs in rows]


def pairs(method):
    """Return PEFT's rows of two adapters at a time."""
    kind = register(method)
    first = {"target_modules": ["lin0"], "init_weights": False, "rank": 2}
    first |= SETTINGS.get(method, {})
    second = first | {"target_modules": ["lin1"]}
    return [
        (f"{method} Same", str(kind.TYPE).lower(), kind, first, first),
        (f"{method} Different", str(kind.TYPE).lower(), kind, first, second),
    ]


def same_network(*args, **kwargs):
    """Return the network of PEFT's tests of loading with equal numbers every time.

    They save from one random network and load into another, which a method refuses that takes part
    of its change from the frozen weights; PEFT seeds its other networks so too.
    """
    torch.manual_seed(0)
    return DEEP(*args, **kwargs)


DEEP, theirs.DeepMLP = theirs.DeepMLP, same_network
METHODS = os.environ["CONTINUAL_METHODS"].split(",")
theirs.TEST_CASES[:] = [row for method in METHODS for row in cases(method)]
theirs.MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES[:] = [row for name in METHODS for row in pairs(name)]
theirs.ALL_PEFT_CONFIG_CLASSES[:] = [register(method) for method in METHODS]
