"""What pytest must know before PEFT's tests; copied beside them as their conftest."""

import importlib.util
import sys
import types

from continual._torchvision import ensure_torchvision

ensure_torchvision()
if importlib.util.find_spec("diffusers") is None:
    absent = types.ModuleType("diffusers")
    absent.StableDiffusionPipeline = type("StableDiffusionPipeline", (), {})
    sys.modules["diffusers"] = absent


def pytest_collection_modifyitems(items):
    """Keep the tests that are given a class of ours; the others are about PEFT's own."""
    from continual.interop.peft_types.config import MethodConfig

    def ours(item):
        given = item.callspec.params.values() if "callspec" in vars(item) else ()
        return any(isinstance(one, type) and issubclass(one, MethodConfig) for one in given)

    items[:] = [item for item in items if ours(item)]
