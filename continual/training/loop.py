"""The loop: one experience after another, exactly repeatable.

    for each experience:
        begin the task                      heads and adapters grow; the function does not change
        fresh optimiser over exactly the trainable numbers
        for each step: loss + penalties, one update; kept examples of earlier tasks among them
        search                          methods with choices take what the validation split favours
        remember                            examples and importances that later tasks will need
        observe                             a row of R (`observe` reads, and never writes)

The loss of a step is a sum of nats divided by the count of the whole step (target tokens for
language models, examples for heads), however the step is cut into micro-batches; the penalty is
added once per step. What a step does depends on (seed, experience, step) and the state alone.
"""

from collections.abc import Iterator

from continual.scenario import Experience
from continual.training.checkpoint import Checkpoint, Position
from continual.training.distillation import Teacher
from continual.training.early_stop import EarlyStop
from continual.training.lesson import Course, look, prepare
from continual.training.non_finite import NonFiniteLossError
from continual.training.optimiser import load_optimiser_state, make_optimiser
from continual.training.pairs import pairs_of
from continual.training.search import search
from continual.training.settling import Aftermath
from continual.training.state import Moment, part, restore, snapshot
from continual.training.step import Learner, make_accelerator, take_step
from continual.training.validation import Validation

BEFORE = Position(experience=-1, step=0, phase="evaluated")


def learn(learner: Learner, resumed: Checkpoint | None = None) -> Iterator[int]:
    """Train on every experience in turn; yield its index once its row of R has been observed.

    Args:
        learner: the parts.
        resumed: where to continue; None begins anew.

    Raises:
        NonFiniteLossError: names the task, the step and the examples of the batch.
        StoppedError: somebody has asked ``learner.halt``; the steps made are saved.
    """
    if resumed is None:
        learner.observe(-1, 0)
        learner.save(snapshot(learner, BEFORE))
        at = BEFORE
    else:
        for experience in learner.scenario:  # the structure; the saved numbers go into it
            if experience.index <= resumed.position.experience:
                begin(learner, experience)
        restore(learner, resumed)
        at = resumed.position
    for experience in learner.scenario:
        i = experience.index
        if i < at.experience or (i == at.experience and at.phase == "evaluated"):
            continue
        continuing = resumed if i == at.experience else None
        step = at.step
        if continuing is None:
            begin(learner, experience)
        if learner.config.joint and i < len(learner.scenario) - 1:
            continue
        if continuing is None or at.phase == "training":
            step = _train(learner, experience, continuing)
        learner.observe(i, step)
        learner.save(snapshot(learner, Position(experience=i, step=step, phase="evaluated")))
        yield i


def begin(learner: Learner, experience: Experience) -> None:
    """Let heads and adapters grow for an experience; what was learned before stays as it is."""
    candidates = learner.scenario.candidates(experience.index, experience.index)
    if candidates is not None:
        learner.backbone.begin_experience(candidates, learner.seed)
    learner.adaptation.begin_task(experience.index)


def _train(learner: Learner, experience: Experience, continuing: Checkpoint | None) -> int:
    """Run and save the steps of one experience, from the checkpoint's on; return their number."""
    i = experience.index
    if not learner.adaptation.trainable():  # the frozen control: an experience passes
        learner.save(snapshot(learner, Position(experience=i, step=0, phase="trained")))
        return 0
    config = learner.config
    course = prepare(
        learner.scenario, learner.backbone, config, learner.memory, experience, learner.seed
    )
    if continuing is None and learner.adaptation.looks_at:
        look(learner.backbone, learner.adaptation, course)
    validation = _validation(learner, course)
    trainable = learner.adaptation.trainable()
    teacher = Teacher.begin(learner.lwf, learner.scenario, learner.adaptation, i)
    pairs = pairs_of(learner.adaptation)
    optimiser = make_optimiser(trainable, learner.lr, config.weight_decay, config.optimiser, pairs)
    done, stop, owed = 0, EarlyStop.begin(config.early_stop), ()
    if continuing is not None:
        done, owed = continuing.position.step, tuple(continuing.facts.get("owed", ()))
        load_optimiser_state(optimiser, trainable, part(continuing, "optimiser"))
        teacher = Teacher(learner.lwf, part(continuing, "teacher"), teacher.known)
        stop = EarlyStop.resume(config.early_stop, continuing)

    def keep(step: int, owed: tuple[str, ...]) -> None:
        learner.losses.read()
        _check_finite(learner, i, step)
        at = Position(experience=i, step=step, phase="training")
        learner.save(snapshot(learner, at, Moment(optimiser, stop, teacher, owed)))

    after = Aftermath(
        experience=i,
        steps=course.steps,
        per_epoch=course.plans[0].per_epoch,
        validation=validation,
        stop=stop,
        keep=keep,
    )
    accelerator = make_accelerator(learner)
    learner.backbone.train()
    with learner.halt.hold():
        if owed:
            after.settle(learner, done, owed)
        while done < course.steps and not stop.stopped:
            take_step(learner, course, teacher, accelerator, optimiser, done)
            done += 1
            learner.tick(i, done, course.steps)
            after.settle(learner, done, after.due(learner, done))
        _finish(learner, course, after, done)
    return done


def _finish(learner: Learner, course: Course, after: Aftermath, done: int) -> None:
    """End an experience whose steps are made: search, remember, save."""
    learner.losses.read()
    searching = learner.adaptation.search is not None
    if searching:  # it may take long, and begins anew when it is left
        after.keep(done, ())
    after.stop.restore_best(learner.adaptation)
    _check_finite(learner, course.experience, done)
    learner.backbone.eval()
    if searching and after.validation is not None:
        with learner.halt.release():
            search(learner, course.experience, done, after.validation)
    _remember(learner, course)
    at = Position(experience=course.experience, step=done, phase="trained")
    learner.save(snapshot(learner, at))


def _check_finite(learner: Learner, experience: int, done: int) -> None:
    """Raise where the last update has spoiled what learns: no loss has come after it."""
    wrong = [n for n, p in learner.adaptation.trainable().items() if not p.isfinite().all()]
    if wrong:
        raise NonFiniteLossError(
            f"after step {done} on task {learner.scenario[experience].task.name!r} (experience "
            f"{experience}) {wrong[0]} is not finite any more. Nothing of it was saved and the "
            "last checkpoint is whole. Lower train.lr, which needs a new directory."
        )


def _validation(learner: Learner, course: Course) -> Validation | None:
    """Return what judges the experience, where something is judged by it."""
    judged = learner.config.early_stop is not None or learner.adaptation.search is not None
    if not judged:
        return None
    return Validation.of(learner.backbone, course, learner.micro_batch, learner.processes)


def _remember(learner: Learner, course: Course) -> None:
    """Keep of an experience what later ones will need: examples, and what mattered to it."""
    for lesson in course.lessons:
        learner.elastic.consolidate(
            learner.backbone, learner.adaptation, lesson, learner.seed, learner.processes
        )
        labels = lesson.task.load().train.column("label") if lesson.task.labels else None
        rows = len(lesson.task.load().train)
        learner.memory.admit(lesson.index, [0] * rows if labels is None else list(labels))
