"""The detection task: what it measures, what it hands to a model, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.metrics import merge, mode_of, to_sums
from nnray.tasks.detection import Detection, detection

INFO = DataInfo("made up", (1, 8, 8), ("disc", "square"), targets="boxes", target_shape=(2, 5))
TARGETS = torch.tensor(
    [[[0.0, 0, 0, 4, 4], [1, 4, 4, 8, 8]], [[1, 0, 0, 4, 4], [-1, 0, 0, 0, 0]]], dtype=torch.float32
)


def summary(task: Detection, outputs: Tensor, targets: Tensor = TARGETS) -> dict[str, float]:
    return task.summarize(to_sums(task.eval_sums(outputs, targets), len(targets)))


def answers(targets: Tensor, score: float = 0.9) -> Tensor:
    """Targets as a detector would give them."""
    return torch.cat([targets, torch.full((*targets.shape[:2], 1), score)], 2)


class Recorder(nn.Module):
    """Notes what it was given to learn; its losses are its weight, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.expected: Tensor | None = None
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.expected
        if x.isnan().any():
            raise ValueError("no numbers")
        return torch.stack([self.weight, self.weight * 3])


def test_right_answers_have_average_precision_1_and_no_loss() -> None:
    metrics = summary(detection(INFO), answers(TARGETS))
    assert metrics == pytest.approx({"loss": 0, "map50": 1, "ap50_class_disc": 1, "ap50_class_square": 1})


def test_no_answers_have_average_precision_0_and_loss_1() -> None:
    none = torch.tensor([-1.0, 0, 0, 0, 0, 0]).expand(2, 3, 6)
    metrics = summary(detection(INFO), none)
    assert metrics == {"loss": 1, "map50": 0, "ap50_class_disc": 0, "ap50_class_square": 0}


def test_metrics_are_those_computed_by_hand() -> None:
    """One of two squares is found, behind a wrong one; the disc's box overlaps by 3/4."""
    outputs = answers(TARGETS).clone()
    outputs[0, 0, 4] = 3
    outputs[0, 1, 0] = -1
    outputs[1, 1] = torch.tensor([1, 5, 5, 7, 7, 0.95])
    metrics = summary(detection(INFO), outputs)
    assert metrics["ap50_class_disc"] == pytest.approx(1)
    assert metrics["ap50_class_square"] == pytest.approx(0.5 * 0.5)
    assert metrics["map50"] == pytest.approx(0.625)
    assert metrics["loss"] == pytest.approx((0.5 + 2 / 3) / 2)


def test_the_overlap_asked_for_is_in_the_name() -> None:
    outputs = answers(TARGETS).clone()
    outputs[0, 0, 4] = 3
    metrics = summary(detection(INFO, iou=0.8), outputs)
    assert metrics["ap80_class_disc"] == 0
    assert metrics["map80"] == pytest.approx(0.5)


def test_a_class_without_targets_doesn_t_count_in_the_mean() -> None:
    metrics = summary(detection(INFO), answers(TARGETS)[1:], TARGETS[1:])
    assert metrics["map50"] == pytest.approx(1)
    assert metrics["loss"] == pytest.approx(0)


def test_images_without_any_target_are_finite() -> None:
    empty = torch.tensor([-1.0, 0, 0, 0, 0]).expand(2, 2, 5)
    metrics = summary(detection(INFO), answers(TARGETS), empty)
    assert metrics["map50"] == metrics["loss"] == 0


def test_sums_of_images_one_by_one_are_those_of_the_whole() -> None:
    task = detection(INFO)
    parts = merge(
        to_sums(task.eval_sums(answers(TARGETS)[i : i + 1], TARGETS[i : i + 1]), 1) for i in range(2)
    )
    assert task.summarize(parts) == pytest.approx(summary(task, answers(TARGETS)))


def test_scores_in_one_bin_count_as_equally_sure() -> None:
    outputs = torch.cat([answers(TARGETS[:1, :1], 0.51), answers(TARGETS[:1, 1:] * 0, 0.59)], 1)
    wanted = TARGETS[:1]
    fine, rough = (detection(INFO, score_bins=bins) for bins in (1000, 10))
    assert summary(fine, outputs, wanted)["ap50_class_disc"] == pytest.approx(0.5)
    outputs[0, 1, 5] = 0.502
    assert summary(fine, outputs, wanted)["ap50_class_disc"] == pytest.approx(1)
    assert summary(rough, outputs, wanted)["ap50_class_disc"] == pytest.approx(0.5)


def test_the_model_gets_the_boxes_for_one_step_and_its_losses_are_added_up() -> None:
    model = Recorder()
    outputs, loss = detection(INFO).loss_of(nn.Sequential(model), torch.zeros(2, 1, 8, 8), TARGETS)
    assert model.seen is TARGETS
    assert model.expected is None
    assert outputs.tolist() == [2, 6]
    loss.backward()
    assert model.weight.grad is not None
    assert (loss.item(), model.weight.grad.item()) == (8, 4)


def test_the_boxes_are_taken_back_where_the_model_raises() -> None:
    model = Recorder()
    with pytest.raises(ValueError, match="no numbers"):
        detection(INFO).loss_of(model, torch.full((2, 1, 8, 8), torch.nan), TARGETS)
    assert model.seen is TARGETS
    assert model.expected is None


def test_training_sums_are_the_loss_of_all_images() -> None:
    task = detection(INFO)
    sums = to_sums(task.train_sums(torch.zeros(3), TARGETS, torch.tensor(1.5)), 2)
    assert task.summarize_train(sums) == {"loss": 1.5}


def test_less_is_better_of_the_loss_alone() -> None:
    metrics = summary(detection(INFO), answers(TARGETS))
    assert {name for name in metrics if mode_of(name) == "min"} == {"loss"}


def test_what_it_can_t_do_is_refused() -> None:
    with pytest.raises(DataError, match=r"needs boxes.*kind class: use a data set with boxes"):
        detection(dataclasses.replace(INFO, targets="class", target_shape=()))
    with pytest.raises(
        ConfigError, match=r"one place for the boxes to learn \(Linear has 0\): use model detector"
    ):
        detection(INFO).loss_of(nn.Linear(2, 2), torch.zeros(2, 2), TARGETS)
    with pytest.raises(ConfigError, match=r"learnt by the model's own losses"):
        detection(INFO).loss(torch.zeros(2, 1, 6), TARGETS)
