"""Joining the processes that a launcher has started, and ending them together.

torchrun, ``accelerate launch`` and their like start the same command several times and say in
the environment who is who. What goes wrong in one process ends all: the first one to fail writes
its reason into the store by which they have found each other, and closes its connections; the
others, whose next exchange then fails, read it there. A process that was killed writes nothing and
its connections close too.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from continual.errors import InputError, LostProcessError, OtherProcessError, StoppedError
from continual.processes.group import ALONE, Processes

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = timedelta(minutes=30)  # of one exchange: evaluation and writing may keep others waiting
PATIENCE = timedelta(seconds=1)  # for the reason of a process that failed, written before it left
FAILED, REASON = "continual/failed", "continual/reason"


class _Joined:
    """What this process has joined, once for its life: a group cannot be founded twice."""

    processes: Processes = ALONE
    store: Store | None = None
    inside: bool = False
    parted: bool = False


def launched() -> int:
    """Return how many processes a launcher has started for one command; 1 without a launcher."""
    if any(name not in os.environ for name in NEEDED):
        return 1
    return int(os.environ["WORLD_SIZE"])


def refuse_launched(what: str) -> None:
    """Raise ``InputError`` where a launcher has started several processes of a command.

    Once: in the others an ``OtherProcessError``.
    """
    if launched() > 1:
        if os.environ["RANK"] != "0":
            raise OtherProcessError("process 0 says it.")
        raise InputError(
            f"{what} cannot be shared by the {launched()} processes that a launcher has started; "
            "only `continual run` can. Start it without torchrun or accelerate."
        )


@contextmanager
def together() -> Iterator[Processes]:
    """Inside, the processes of a launcher are one run: what fails in one ends all of them.

    May be nested. Without a launcher there is one process and nothing happens.

    Raises:
        OtherProcessError: another process has failed, or was stopped by itself; its reason.
        LostProcessError: another process has ended without a reason.
        StoppedError: this one or all were; silent where another process says it.
    """
    if launched() == 1 or _Joined.inside:
        yield _Joined.processes
        return
    _join()
    _Joined.inside = True
    try:
        yield _Joined.processes
    except (Exception, KeyboardInterrupt, StoppedError) as error:
        told = _ended(error)
        if told is error:
            raise
        raise told from error
    finally:
        _Joined.inside = False


def _join() -> None:
    """Find the other processes, unless that is done."""
    if _Joined.parted:
        raise LostProcessError(
            "the processes of this launcher have parted after an error; start them anew."
        )
    if _Joined.store is not None:
        return
    store, rank, count = next(rendezvous("env://", timeout=TIMEOUT))
    if not dist.is_initialized():  # a script of the user's own may have done so
        import torch

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        own = PrefixStore("continual", store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=TIMEOUT)
        atexit.register(_leave)
    local = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None
    _Joined.store, _Joined.processes = store, Processes(rank=rank, count=count, local=local)


def _ended(error: BaseException) -> BaseException:
    """Tell the others why this process ends; return what it has to say itself."""
    if isinstance(error, RuntimeError) and "gloo" in str(error).lower():
        error = _noted(LostProcessError(str(error)), error)  # from inside torch's own exchanges
    reason = _reason() if isinstance(error, LostProcessError) else None
    silent = isinstance(error, StoppedError) and error.silent
    if reason is None and not silent and _claim():
        told = _lost(error) if isinstance(error, LostProcessError) else error
        with suppress(RuntimeError):
            assert _Joined.store is not None
            _Joined.store.set(REASON, f"process {_Joined.processes.rank}: {told}")
    else:
        reason = reason or _reason() or "another process of this run has failed."
        told = OtherProcessError(reason)
        if isinstance(error, StoppedError):  # its status stays
            told = StoppedError(error.signal, str(error), silent=True)
    _leave()
    return told


def _lost(error: LostProcessError) -> LostProcessError:
    """Return what to say of a process that has said nothing itself."""
    minutes = int(TIMEOUT.total_seconds() / 60)
    told = LostProcessError(
        f"another process of this run has ended without a word, or did not answer for {minutes} "
        "minutes: killed, perhaps for memory, or its machine was lost. What was reported as saved "
        "is whole; run the same command again to continue. What the exchange said: "
        + str(error).split("\n", 1)[0]
    )
    return _noted(told, error)


def _noted(told: LostProcessError, error: BaseException) -> LostProcessError:
    """Return an error with the notes of another one."""
    for note in vars(error).get("__notes__", []):
        told.add_note(note)
    return told


def _reason() -> str | None:
    """Return why another process has failed, if it says so in time."""
    assert _Joined.store is not None
    try:
        _Joined.store.wait([REASON], PATIENCE)
        return _Joined.store.get(REASON).decode()
    except RuntimeError:  # nothing was said, or the store is gone
        return None


def _claim() -> bool:
    """Say whether this process is the first to fail; without the store it must speak too."""
    assert _Joined.store is not None
    try:
        return _Joined.store.add(FAILED, 1) == 1
    except RuntimeError:
        return True


def _leave() -> None:
    """Close the connections, so that nobody waits for this process."""
    _Joined.parted = True
    if dist.is_initialized():
        dist.destroy_process_group()
