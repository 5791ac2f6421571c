"""What a private run says of itself: what is guaranteed, what has been spent, and what is outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnray.assembly import Assembly
from nnray.runners.recording import Notes
from nnray.runners.training import EpochRecord
from nnray.tracking import Tracker


def declare(built: Assembly, tracker: Tracker, *, notes: Notes, run: str) -> None:
    """Say what a run guarantees, to the person and in the store; nothing of a run without privacy.

    Args:
        built: The run.
        tracker: Where it is recorded.
        notes: Where a person is told.
        run: Key of the run.
    """
    if built.plan is None:
        return
    said, outside = built.plan.describe(), "; ".join(outside_of(built))
    notes.note(f"privacy: {said}")
    notes.note(f"privacy: outside the guarantee: {outside}")
    tracker.set_tags(run, {"nnray.privacy": said, "nnray.privacy.outside": outside})


def outside_of(built: Assembly) -> Iterator[str]:
    """What a private run tells or uses of its data that the guarantee doesn't cover."""
    assert built.plan is not None
    yield "whoever knows the seed can take the noise away: keep it to yourself"
    yield "the number of training examples"
    if built.experiment.data.normalize:
        yield "the mean and standard deviation of the training inputs (data.normalize: false leaves them out)"
    if not built.plan.withholds:
        yield "train_loss and train_accuracy (privacy.metrics: withheld keeps them back)"
    yield "the validation examples: val_ metrics, and the choice of an epoch by them"


def spent(records: Sequence[EpochRecord]) -> dict[str, float]:
    """What a whole run has spent, whichever epoch's weights were chosen; nothing without privacy."""
    metrics = records[-1].report.metrics
    return {"epsilon": metrics["epsilon"]} if "epsilon" in metrics else {}
