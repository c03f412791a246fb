"""Frozen pretrained models by name or path: what they read, what they say, how they are scored."""

from continual.backbone.base import Backbone, DocumentNats, Encoded, Scored
from continual.backbone.live import live_backbone
from continual.backbone.load import backbones, load_backbone, skeleton
from continual.backbone.places import EMBEDDED

__all__ = [
    "EMBEDDED",
    "Backbone",
    "DocumentNats",
    "Encoded",
    "Scored",
    "backbones",
    "live_backbone",
    "load_backbone",
    "skeleton",
]
