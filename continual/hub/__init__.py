"""The door of the Hugging Face hub: commits, files in the cache, failures in our words."""

from continual.hub.files import cached_card, locate, model_folder, quiet
from continual.hub.refusals import explain, telling
from continual.hub.repo import Repo, is_offline, transport_error

__all__ = [
    "Repo",
    "cached_card",
    "explain",
    "is_offline",
    "locate",
    "model_folder",
    "quiet",
    "telling",
    "transport_error",
]
