"""The door of transformers: quiet, explicit, offline where it must be, its errors in our words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from continual._torchvision import ensure_torchvision
from continual.backbone.refusals import ask, check_weights
from continual.errors import InputError

NAMED_WEIGHTS = 4  # how many missing weights an error lists


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings; restore both on the way out."""
    ensure_torchvision()
    from transformers.utils import logging as chatter

    verbosity = chatter.get_verbosity()
    hook = chatter.set_tqdm_hook(
        lambda factory, args, options: factory(*args, **{**options, "disable": True})
    )
    chatter.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        chatter.set_verbosity(verbosity)
        chatter.set_tqdm_hook(hook)


def read_config(name: str, source: str, trust_remote_code: bool) -> Any:
    """Return the configuration of a model.

    Args:
        name: what the user gave.
        source: the directory that holds it.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        InputError: it cannot be read, or it needs code that the user did not allow.
    """
    with quiet():
        from transformers import AutoConfig

        return ask(
            lambda: AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code),
            name,
        )


def read_tokenizer(name: str, source: str, trust_remote_code: bool) -> Any:
    """Return the fast tokenizer that belongs to a model.

    Raises:
        InputError: there is none, or it has no fast version (which knows where its tokens are).
    """
    with quiet():
        from transformers import AutoTokenizer

        tokenizer = ask(
            lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code),
            name,
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer of {name!r} has no fast version, which knows which characters a token "
            "covers; save one (tokenizer.json) beside the model and give that directory."
        )
    return tokenizer


def read_model(
    kind: str,
    name: str,
    source: str,
    *,
    dtype: torch.dtype,
    attention: str | None,
    trust_remote_code: bool,
) -> nn.Module:
    """Return the model of a directory as transformers' Auto class ``kind`` builds it.

    Raises:
        InputError: it cannot be built, or the checkpoint is no safetensors or lacks some weights.
    """
    check_weights(name, source)
    auto = _auto(kind)
    options = {} if attention is None else {"attn_implementation": attention}
    with quiet():
        model, report = ask(
            lambda: auto.from_pretrained(
                source,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            ),
            name,
        )
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key.split("."))
    if missing:
        raise InputError(
            f"the weights of {name!r} lack {len(missing)} of the tensors that a {kind} needs, for "
            f"instance {missing[:NAMED_WEIGHTS]}; a model with made-up weights would measure "
            "nothing. Give a checkpoint of the right architecture."
        )
    return model


def empty_model(kind: str, config: Any, trust_remote_code: bool) -> nn.Module:
    """Return the model of a configuration on the meta device: shapes and no numbers."""
    auto = _auto(kind)
    with quiet(), torch.device("meta"):
        return auto.from_config(config, trust_remote_code=trust_remote_code)


def _auto(kind: str) -> Any:
    ensure_torchvision()
    import transformers

    return {
        "causal-lm": transformers.AutoModelForCausalLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
        "encoder": transformers.AutoModel,
        "vision": transformers.AutoModel,
    }[kind]


def read_image_statistics(name: str, source: str) -> dict[str, Any]:
    """Return ``preprocessor_config.json`` of a directory, or an empty mapping where it has none."""
    if not (Path(source) / "preprocessor_config.json").is_file():
        return {}
    with quiet():
        from transformers.image_processing_base import ImageProcessingMixin

        return ask(lambda: ImageProcessingMixin.get_image_processor_dict(source)[0], name)


def hash_weights(model: nn.Module) -> str:
    """Return the sha256 of a model's parameters: names, shapes, dtypes and bytes, by name."""
    digest = sha256()
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(_bytes(weight))
    return digest.hexdigest()


def _bytes(weight: Tensor) -> Any:
    flat = weight.detach().to("cpu").contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data
