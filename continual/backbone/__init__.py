"""Frozen pretrained models by name or path: what they read, what they say, how they are scored."""

from continual.backbone.base import Backbone, DocumentNats, Encoded, Scored
from continual.backbone.load import EMBEDDED, backbones, load_backbone, skeleton

__all__ = [
    "EMBEDDED",
    "Backbone",
    "DocumentNats",
    "Encoded",
    "Scored",
    "backbones",
    "load_backbone",
    "skeleton",
]
