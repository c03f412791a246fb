"""Named tensors of a whole model: which there are, their hash, and a line of facts beside them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from continual.adapters.checks import copy_state
from continual.errors import InputError

META = "meta"  # key of the uint8 tensor that holds the facts as JSON


def model_tensors(model: nn.Module, excluded: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """Return every parameter (tied ones once) and every persistent buffer, live, by name."""
    saved = model.state_dict(keep_vars=True).keys()
    named = dict(model.named_parameters())
    named |= {name: buffer for name, buffer in model.named_buffers() if name in saved}
    return {name: tensor for name, tensor in named.items() if id(tensor) not in excluded}


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, dtypes, shapes and bytes: 32 hexadecimal digits, about 1 GB/s."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def held_once(
    modules: Mapping[str, nn.Module],
) -> tuple[dict[str, Tensor], dict[str, dict[str, str]]]:
    """Return the live tensors of modules, those that several share once.

    Args:
        modules: by the prefix of their tensors' names.

    Returns:
        The tensors by prefix and name, and for every module the name in this dict of each of its
        own names: that of the first module that holds the tensor.
    """
    tensors: dict[str, Tensor] = {}
    kept_as: dict[int, str] = {}
    places: dict[str, dict[str, str]] = {}
    for prefix, module in modules.items():
        held = module.state_dict(keep_vars=True)
        places[prefix] = {n: kept_as.setdefault(id(t), f"{prefix}{n}") for n, t in held.items()}
        for name, tensor in held.items():
            tensors.setdefault(places[prefix][name], tensor)
    return tensors, places


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU copies that share no memory with the model."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }


def pack(facts: Mapping[str, Any]) -> Tensor:
    """Return JSON facts as a uint8 tensor, so that they travel inside a tensor file."""
    return torch.frombuffer(
        bytearray(json.dumps(facts, sort_keys=True).encode()), dtype=torch.uint8
    )


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the facts packed in a state.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    if META not in tensors:
        raise InputError(f"this is not the state of an adaptation: it has no {META!r} tensor.")
    try:
        return json.loads(bytes(tensors[META].cpu().tolist()))
    except (ValueError, TypeError) as error:
        raise InputError(f"the facts of this state cannot be read: {error}.") from None


def check_keys(given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ``InputError`` naming missing and unexpected keys, if there are any."""
    given, expected = set(given), set(expected)
    if given == expected:
        return
    problems = [
        f"{what} {sorted(keys)[:3]}{' and more' if len(keys) > 3 else ''} ({len(keys)})"
        for what, keys in (("lacks", expected - given), ("has unexpected", given - expected))
        if keys
    ]
    raise InputError(
        f"the state does not fit: it {' and '.join(problems)}. Attach with the targets and heads "
        "it was saved with."
    )


_REMEDY = {
    "method": "Attach that method.",
    "config": "Attach with that config.",
    "base": "Load the backbone it was trained on, in the same dtype.",
}


def check_facts(given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise ``InputError`` unless a state was saved by this method, config and base."""
    for name, value in own.items():
        if given.get(name) != value:
            raise InputError(
                f"this state was saved with {name} {given.get(name)!r}; here it is {value!r}. "
                f"{_REMEDY[name]}"
            )
    if not isinstance(given.get("task"), int):
        raise InputError("the facts of this state name no task; the file is damaged.")


def check_state(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], names: Iterable[str]
) -> int:
    """Return the task of a state that fits these facts and names.

    Raises:
        InputError: no state, or one of another method, config, base, targets or heads.
    """
    given = unpack(tensors)
    check_facts(given, facts)
    check_keys(tensors.keys(), {*names, META})
    return given["task"]


def load_heads(heads: nn.Module | None, tensors: Mapping[str, Tensor]) -> None:
    """Copy saved heads into heads of the same size, in place.

    Raises:
        InputError: another size; says how to rebuild them.
    """
    if heads is None:
        return
    try:
        copy_state(heads, tensors)
    except InputError as error:
        raise InputError(
            f"the heads have another size than the saved ones: {error} Call the backbone's "
            "begin_experience for every task up to the saved one before load_state."
        ) from None


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name begins with ``prefix``, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
