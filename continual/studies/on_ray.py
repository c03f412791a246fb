"""Cells as Ray tasks, each with its share of a node. The door of ray.

The driver hands out the cells and keeps the books; a task whose worker or node is lost is made
again, as a process here would be, and its run goes on from its checkpoint. Ray's own retries are
off, so that one rule counts. What a run says travels through a mailbox, an actor beside the driver:
a worker that cannot reach it any more has been abandoned, and stops.

Where nothing is said about memory, the first run shows what a run takes: no second one begins
before it has loaded, and those that follow reserve as much as the largest so far.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.runs.progress import Reporter
from continual.runs.signals import stoppable
from continual.studies.cell import Cell, CellError
from continual.studies.cluster import check_resources, connected, fitting, largest
from continual.studies.remote import Mailbox, Place, Post, serve_cell
from continual.studies.roster import Roster
from continual.studies.storage import last_line, share_folders
from continual.studies.where import Share
from continual.training.stopping import Halt

PATIENCE = 0.25  # seconds between looks into the mailbox
GRACE = 60.0  # seconds that a run has to stop cleanly
HEARD = 30.0  # seconds that the mailbox, which restarts, has to answer


class RayCrew:
    """The tasks of a study, and what is known about the memory that they take."""

    def __init__(self, ray: Any, roster: Roster, share: Share, word: str) -> None:
        """Open the mailbox; nothing runs yet."""
        self.ray, self.roster, self.share, self.word = ray, roster, share, word
        self.halt = Halt()  # whether somebody wants the study to stop
        self.tasks: dict[Any, int] = {}  # by the reference of its result: the index of the cell
        self.most = share.memory or 0  # bytes that a run takes
        here = ray.get_runtime_context().get_node_id()
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        self.mailbox = (
            ray.remote(Mailbox)
            .options(num_cpus=0, max_restarts=-1, scheduling_strategy=beside)
            .remote()
        )
        self.remote = ray.remote(serve_cell)

    def work(self) -> None:
        """Run every cell to its end.

        Raises:
            StoppedError: somebody has asked; every cell at work has saved what it had.
        """
        while not self.roster.done:
            if self.halt.signal is not None:
                self._stop()
                self.halt.check()
            while self.roster.waiting and self._room():
                self._give(self.roster.waiting.popleft())
            ready, _ = self.ray.wait(list(self.tasks), timeout=PATIENCE)
            self._hear()
            for task in ready:
                self._end(task, self.tasks.pop(task))

    def _stop(self) -> None:
        """Let the runs at work save what they have and stop, and hear what they say about it."""
        tasks = list(self.tasks)
        for task in tasks:
            self.ray.cancel(task)
        if tasks:
            self.ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)
        self._hear()

    def end(self) -> None:
        """End what is still at work, however it is that we do not wait for it."""
        for task in self.tasks:
            self.ray.cancel(task, force=True)

    def _room(self) -> bool:
        """Say whether to hand out another cell: as many as fit, and one for a cluster to grow by.

        As long as it is unknown what a run takes, one alone.
        """
        if not self.most:
            return not self.tasks
        return len(self.tasks) <= fitting(self.ray, self.share, self.most)

    def _give(self, index: int) -> None:
        memory = min(self.most, largest(self.ray, "memory"))
        wants = {"memory": memory} if memory else {}
        options = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus, **wants}
        task = self.remote.options(max_retries=0, **options)
        cell, post = self.roster.cells[index], Post(mailbox=self.mailbox, index=index)
        cell = replace(cell, out=cell.out.absolute())
        place = Place(
            word=self.word,
            home=str(Path.cwd()),
            threads=self.share.cpus,
            level=logging.getLogger("continual").level,
        )
        self.tasks[task.remote(cell, post, place)] = index

    def _hear(self) -> None:
        """Take in all that the workers have said."""
        from ray.exceptions import GetTimeoutError, RayActorError

        try:
            said = self.ray.get(self.mailbox.take.remote(), timeout=HEARD)
        except (RayActorError, GetTimeoutError) as error:
            self.roster.reporter.note(f"warning: progress is late ({error}); the runs go on.")
            return
        for index, kind, values in said:
            if kind == "begun":
                self.roster.begin(index, *values)
            elif kind == "memory":
                self.most = self.share.memory or max(self.most, *values)
            elif kind == "note":
                self.roster.reporter.note(*values)
            elif kind == "step":
                self.roster.reporter.step(*values)
            else:
                self.roster.reporter.learned(*values)

    def _end(self, task: Any, index: int) -> None:
        """Take in how a task ended; a worker that was lost is no result."""
        from ray import exceptions as kinds

        gone = (kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.OutOfMemoryError)
        gone += (kinds.LocalRayletDiedError, kinds.ObjectLostError, kinds.TaskCancelledError)
        name, why = self.roster.cells[index].name, "out of memory? Give runs more by --memory"
        try:
            self.roster.finish(index, self.ray.get(task))
        except gone as error:
            kind = type(error).__name__
            self.roster.lose(index, f"the process of {name} was lost ({kind})", why)
        except kinds.RayError as error:
            self.roster.finish(index, CellError(last_line(error)))


def run_on_ray(
    cells: Sequence[Cell], reporter: Reporter, *, address: str | None, share: Share
) -> list[Exception | None]:
    """Run the cells as Ray tasks; return what each raised, None where it finished.

    Args:
        cells: all in folders that every node sees.
        reporter: is told how they get on.
        address: HOST:PORT of a cluster, or auto; None: RAY_ADDRESS, or a cluster of our own.
        share: what every run is given.

    Raises:
        StoppedError: SIGINT or SIGTERM; the runs at work have saved what they had.
        InputError: ray is not installed, the cluster cannot be reached, or one of its nodes cannot
            run the cells; says why.
    """
    _check_devices(cells, share)
    if all(cell.finished() for cell in cells):
        return Roster(cells, reporter).raised()
    with connected(address or os.environ.get("RAY_ADDRESS")) as ray:
        check_resources(ray, share)
        word = share_folders(ray, sorted({cell.out.parent for cell in cells}))
        roster = Roster(cells, reporter)
        crew = RayCrew(ray, roster, share, word)
        try:
            with stoppable(crew.halt), crew.halt.hold():
                crew.work()
        finally:
            crew.end()
        return roster.raised()


def _check_devices(cells: Sequence[Cell], share: Share) -> None:
    """Raise ``InputError`` unless GPUs are asked for exactly where runs use them."""
    devices = {str(cell.settings.get("backbone", {}).get("device", "cpu")) for cell in cells}
    on_gpus = any(device.startswith("cuda") for device in devices)
    if on_gpus and not share.gpus:
        raise InputError(
            "runs with backbone.device=cuda see a GPU on Ray only where one is set aside for them; "
            "give --gpus 1, or a fraction that several share."
        )
    if share.gpus and not on_gpus:
        raise InputError(
            f"--gpus {share.gpus:g} would keep GPUs that nothing uses; give "
            "--set backbone.device=cuda too, or leave it out."
        )
