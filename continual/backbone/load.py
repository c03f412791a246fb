"""From a name to a backbone: embedded, on the hub, or in a directory."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from continual.backbone import door, options
from continual.backbone.base import Backbone
from continual.backbone.causal_lm import CausalLM
from continual.backbone.encoder import Encoder
from continual.backbone.encoder_decoder import EncoderDecoder
from continual.backbone.places import EMBEDDED, find
from continual.backbone.vision import Images, Vision
from continual.errors import InputError

# Vision transformers whose first output token is CLS, the feature that our heads read.
CLS_VISION = (
    "beit",
    "data2vec-vision",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "vit",
    "vit_msn",
)

# Configuration fields in which architectures state how many positions they have.
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")

# Architectures that count positions from behind the padding token, so two of them are never used.
OFFSET_POSITIONS = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")

# Architectures whose positions are relative, whatever bound their configuration mentions.
RELATIVE_POSITIONS = ("longt5", "mt5", "switch_transformers", "t5", "umt5")

LONGEST_DEFAULT = 1024  # tokens, where the user names no max_length and the model allows more
UNLIMITED = 512  # tokens, where neither user nor model sets a bound


def load_backbone(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    attention: str | None = None,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    heads: bool = False,
    revision: str | None = None,
) -> Backbone:
    """Load a frozen pretrained model.

    Args:
        name: an embedded backbone, a local directory or a hub id, looked up in that order.
        dtype: of the weights: float32, bfloat16 or float16. Sums are float32 or wider always.
        device: such as cpu, cuda or cuda:1.
        attention: eager, sdpa, ...; None leaves the choice to transformers.
        trust_remote_code: run Python code that comes with the model.
        max_length: longest input in tokens, answer included for causal models; None is the
            model's own bound, at most 1024.
        heads: let a causal language model classify by heads of ours over its last token, instead of
            by the words of its labels. Encoders and vision transformers always do.
        revision: branch, tag or commit of a hub id; None is its main branch.

    Raises:
        InputError: an option that does not exist, a model that cannot be had, has no weights as
            safetensors or is of no supported family, or a length beyond its positions.
    """
    chosen = {
        "dtype": options.parse_dtype(dtype),
        "attention": options.parse_attention(attention),
        "trust_remote_code": trust_remote_code,
    }
    place = options.parse_device(device)
    source, commit = find(name, revision, trust_remote_code)
    config = door.read_config(name, source, trust_remote_code)
    family = family_of(config.to_dict(), name)
    model = _without_pooler(door.read_model(family, name, source, **chosen))
    model = model.requires_grad_(False).eval()
    facts = {
        "name": name,
        "model": model.to(place),
        "model_type": config.model_type,
        "device": place,
    }
    if family == "vision":
        images = Images(config, door.read_image_statistics(name, source))
        loaded = Vision(**facts, width=config.hidden_size, images=images)
    else:
        tokenizer = door.read_tokenizer(name, source, trust_remote_code)
        loaded = text_backbone(family, facts, config, tokenizer, max_length)
        loaded = _with_heads(loaded, config.hidden_size) if heads else loaded
    loaded.revision = commit
    loaded.fingerprint()  # of the weights as they are now
    return loaded.eval()


def skeleton(name: str, *, trust_remote_code: bool = False) -> tuple[nn.Module, str]:
    """Return a model without weights, on the meta device, and its architecture's name.

    Args:
        name: an embedded backbone, a directory with a config.json, or a hub id.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        InputError: no such model can be reached, or it is of no supported family.
    """
    source, _ = find(name, None, trust_remote_code, weights=False)
    config = door.read_config(name, source, trust_remote_code)
    family = family_of(config.to_dict(), name)
    empty = door.empty_model(family, config, trust_remote_code)
    return _without_pooler(empty), config.model_type


def _without_pooler(model: nn.Module) -> nn.Module:
    """Take off an encoder's pooler, which our heads do not read and no adapter should adapt."""
    if "pooler" in dict(model.named_children()):
        model.pooler = None  # type: ignore[assignment]
    return model


def text_backbone(
    family: str, facts: dict[str, Any], config: Any, tokenizer: Any, max_length: int | None
) -> Backbone:
    """Return the backbone of a family that reads text.

    Args:
        family: causal-lm, encoder or encoder-decoder.
        facts: name, model, model_type and device.
        config: of the model.
        tokenizer: of the model, a fast one.
        max_length: longest input in tokens; None is the model's own bound, at most 1024.

    Raises:
        InputError: a length beyond the model's positions, or a model that cannot be asked.
    """
    limit = _positions(config)
    facts = facts | {
        "tokenizer": tokenizer,
        "max_length": _length(facts["name"], max_length, limit, tokenizer.model_max_length),
    }
    if family == "causal-lm":
        return CausalLM(**facts, limit=limit)
    if family == "encoder":
        return Encoder(**facts, width=config.hidden_size)
    return EncoderDecoder(**facts, start=config.decoder_start_token_id)


def _with_heads(loaded: Backbone, width: int) -> Backbone:
    if isinstance(loaded, EncoderDecoder):
        raise InputError(
            f"backbone {loaded.name!r} is an encoder-decoder, which answers in words; "
            "backbone.heads is for causal language models, and encoders have heads anyway."
        )
    if not isinstance(loaded, CausalLM):
        return loaded
    return Encoder(
        name=loaded.name,
        model=loaded.model,
        model_type=loaded.model_type,
        device=loaded.device,
        max_length=loaded.max_length,
        width=width,
        tokenizer=loaded.codec.tokenizer,
        speaker=loaded,
    )


def backbones() -> list[dict[str, Any]]:
    """Return name, family, parameters and path of every embedded backbone."""
    rows = []
    for name, path in EMBEDDED.items():
        config = json.loads((path / "config.json").read_text())
        family = family_of(config, name)
        rows.append({"name": name, "family": family, "parameters": _count(path), "path": str(path)})
    return rows


def family_of(config: dict[str, Any], name: str) -> str:
    """Return the family of a model's configuration: its architecture decides, then its type.

    Raises:
        InputError: it is of none of our families.
    """
    built = (config.get("architectures") or [""])[0]
    kind = config.get("model_type", "")
    if config.get("is_encoder_decoder") or built in ("T5ForConditionalGeneration",):
        return "encoder-decoder"
    if built.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal-lm"
    if kind in CLS_VISION:
        return "vision"
    if built.endswith("ForMaskedLM") or kind in _types("MODEL_FOR_MASKED_LM_MAPPING_NAMES"):
        return "encoder"
    if kind in _types("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"):
        return "causal-lm"
    raise InputError(
        f"backbone {name!r} is a {kind or 'nameless'} model ({built or 'no architecture'}), which "
        "is of none of the families: causal language models, encoder-decoders (T5, BART), text "
        f"encoders (BERT), vision transformers with a CLS token {list(CLS_VISION)}."
    )


def _types(table: str) -> dict[str, str]:
    door.ensure_torchvision()
    from transformers.models.auto import modeling_auto

    return vars(modeling_auto)[table]


def _positions(config: Any) -> int | None:
    fields = config.to_dict()
    found = [fields[key] for key in POSITIONS if isinstance(fields.get(key), int)]
    if not found or found[0] < 1 or config.model_type in RELATIVE_POSITIONS:
        return None
    return found[0] - (2 if config.model_type in OFFSET_POSITIONS else 0)


def _length(name: str, given: int | None, limit: int | None, advised: int) -> int:
    if given is None:
        bounds = [bound for bound in (limit, advised) if bound is not None]
        best = min(bounds)
        return UNLIMITED if best > 10**9 else min(best, LONGEST_DEFAULT)
    if given < 2 or (limit is not None and given > limit):
        raise InputError(
            f"max_length must be between 2 and {limit or 'any length'} tokens for backbone "
            f"{name!r}; got {given}."
        )
    return given


def _count(path: Path) -> int:
    """Return how many numbers a directory's safetensors hold, from their headers."""
    total = 0
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as stream:
            size = struct.unpack("<Q", stream.read(8))[0]
            header = json.loads(stream.read(size))
        total += sum(prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
    return total
