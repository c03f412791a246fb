"""Published ways to adapt a frozen weight, their contract, and how they are put on a model."""

from continual.adapters.adaptation import Adaptation
from continual.adapters.attach import attach
from continual.adapters.base import Adapter, Site
from continual.adapters.count import Count, count_trained
from continual.adapters.curlora import CURLoRAConfig
from continual.adapters.inclora import IncLoRAConfig
from continual.adapters.lora import LoRAConfig
from continual.adapters.method import Method
from continual.adapters.moments import forget
from continual.adapters.nlora import NLoRAConfig
from continual.adapters.olora import OLoRAConfig
from continual.adapters.registry import ALIASES, METHODS, method_named
from continual.adapters.settings import configure
from continual.adapters.slora import SLoRAConfig
from continual.adapters.targets import DEFAULT_TARGETS

__all__ = [
    "ALIASES",
    "DEFAULT_TARGETS",
    "METHODS",
    "Adaptation",
    "Adapter",
    "CURLoRAConfig",
    "Count",
    "IncLoRAConfig",
    "LoRAConfig",
    "Method",
    "NLoRAConfig",
    "OLoRAConfig",
    "SLoRAConfig",
    "Site",
    "attach",
    "configure",
    "count_trained",
    "forget",
    "method_named",
]
