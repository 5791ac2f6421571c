"""What a private run says of itself: what is guaranteed, what has been spent, and what is outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nnray.assembly import Assembly
from nnray.config import Experiment
from nnray.runners.recording import Notes
from nnray.runners.training import EpochRecord
from nnray.tracking import Tracker


def declare(said: str, outside: Iterable[str], *, tracker: Tracker, notes: Notes, run: str) -> None:
    """Say what a run guarantees, to the person and in the store.

    Args:
        said: What holds.
        outside: What the guarantee doesn't cover.
        tracker: Where it is recorded.
        notes: Where a person is told.
        run: Key of the run.
    """
    beside = "; ".join(outside)
    notes.note(f"privacy: {said}")
    notes.note(f"privacy: outside the guarantee: {beside}")
    tracker.set_tags(run, {"nnray.privacy": said, "nnray.privacy.outside": beside})


def outside_guarantee(
    experiment: Experiment, *, inputs: str, measured: str, also: Iterable[str] = ()
) -> Iterator[str]:
    """What every private run tells or uses of its data that no guarantee covers.

    Args:
        experiment: With a section ``privacy``.
        inputs: Whose mean and standard deviation are used.
        measured: What is measured of the private data, and told unless it is withheld.
        also: What else there is of this kind of run.
    """
    assert experiment.privacy is not None, "asked for of a private run"
    yield "whoever knows the seed can take the noise away: keep it to yourself"
    yield from also
    if experiment.data.normalize:
        yield f"the mean and standard deviation of {inputs} (data.normalize: false leaves them out)"
    if experiment.privacy.metrics == "outside":
        yield f"{measured} (privacy.metrics: withheld keeps them back)"


def outside_of(built: Assembly) -> Iterator[str]:
    """What a private training tells or uses of its data beside the guarantee."""
    yield from outside_guarantee(
        built.experiment,
        inputs="the training inputs",
        measured="train_loss and train_accuracy",
        also=["the number of training examples"],
    )
    yield "the validation examples: val_ metrics, and the choice of an epoch by them"


def spent(records: Sequence[EpochRecord]) -> dict[str, float]:
    """What a whole run has spent, whichever epoch's weights were chosen; nothing without privacy."""
    metrics = records[-1].report.metrics
    return {"epsilon": metrics["epsilon"]} if "epsilon" in metrics else {}
