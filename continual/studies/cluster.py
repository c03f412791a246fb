"""Reaching a Ray cluster, and what its nodes have."""

import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from continual.errors import InputError
from continual.studies.cores import cores
from continual.studies.where import Share

AUTH = "RAY_AUTH_MODE"
DIAL = 5.0  # seconds to reach a port
ANSWER = 45.0  # seconds for what listens there to prove that it is a cluster like ours
PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one of this machine's own; yield the ray module.

    Where this process is connected already, that connection is used, and stays.

    Raises:
        InputError: ray is not installed, or there is no cluster at that address.
    """
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise InputError(
            "executor 'ray' needs the package ray; install it with "
            "`pip install 'continual-adapters[ray]'`, or use --executor local."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    if address is None or address == "local":
        ray.init(
            address="local",
            num_cpus=cores(),
            log_to_driver=False,
            include_dashboard=False,
            logging_level=logging.WARNING,
        )
    else:
        _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (RuntimeError, OSError, ValueError) as error:
            raise _unreachable(address, str(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise ``InputError`` unless a cluster answers there; Ray itself would try for minutes."""
    if "://" in address:
        raise InputError(
            f"--address takes HOST:PORT or auto, on a node of the cluster; got {address!r}. A "
            "study writes where its runs write, so it cannot be sent from outside."
        )
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(
                f"--address takes HOST:PORT, as in 10.0.0.1:6379, or auto; got {address!r}."
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), DIAL).close()
        except (OSError, OverflowError) as error:
            raise _unreachable(address, f"nothing answers there ({error})") from error
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, address], capture_output=True, text=True, timeout=ANSWER
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, "what answers there does not let us in") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _unreachable(address, lines[-1] if lines else f"exit code {done.returncode}")


def _unreachable(address: str, why: str) -> InputError:
    token = "" if AUTH in os.environ else f" Where the cluster asks for a token, set {AUTH}=token."
    return InputError(
        f"cannot reach a Ray cluster at {address}: {why}.{token} `ray start --head` starts one and "
        "prints its address; without --address a study has one of its own on this machine."
    )


def nodes(ray: Any) -> list[dict[str, Any]]:
    """Return the nodes that are alive and have cores."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def largest(ray: Any, resource: str) -> int:
    """Return the most that one node has of a resource."""
    return int(max((node["Resources"].get(resource, 0) for node in nodes(ray)), default=0))


def fitting(ray: Any, share: Share, memory: int) -> int:
    """Return how many runs that take ``memory`` bytes fit on all nodes together."""
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": memory}
    return sum(
        min(math.floor(node["Resources"].get(key, 0) / of) for key, of in wanted.items() if of)
        for node in nodes(ray)
    )


def check_resources(ray: Any, share: Share) -> None:
    """Raise ``InputError`` unless a run fits on some node."""
    if fitting(ray, share, share.memory or 0):
        return
    kinds = (("CPU", 1, "cores"), ("memory", 2**30, "GiB"), ("GPU", 1, "GPUs"))
    offers = [
        f"  {node['NodeManagerHostname']}: "
        + ", ".join(
            f"{node['Resources'].get(key, 0) / unit:.4g} {name}" for key, unit, name in kinds
        )
        for node in nodes(ray)
    ]
    memory = "" if share.memory is None else f" --memory {share.memory / 2**30:.4g}GiB"
    raise InputError(
        f"no node has room for one run with --cpus {share.cpus}{memory} --gpus {share.gpus:g}; "
        "there are:\n" + "\n".join(offers)
    )
