"""Average precision and the LRP error against hand-computed numbers and slow oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.metrics import Array
from nnray.tasks.average_precision import average_precision, lrp_error, matched, overlaps, score_bins

BINS = 100


def row(label: int, *corners: float, score: float | None = None) -> list[float]:
    return [float(label), *corners, *([] if score is None else [score])]


def counts(*right: tuple[int, float]) -> Array:
    """One class: how many by score, in bins of a hundredth."""
    cells = np.zeros((1, BINS))
    for number, score in right:
        cells[0, int(score * BINS)] += number
    return cells


def test_overlap_is_the_shared_area_over_the_whole() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [2, 2, 6, 6], [5, 5, 5, 5], [3, 3, 1, 1]]])
    targets = torch.tensor([[[2.0, 2, 6, 6], [10, 10, 12, 12]]])
    got = overlaps(boxes, targets)[0].tolist()
    assert got == [pytest.approx([4 / 28, 0]), [1, 0], [0, 0], [0, 0]]


def test_the_surest_detection_takes_a_target_and_the_second_is_wrong() -> None:
    target = torch.tensor([[row(0, 0, 0, 4, 4), row(-1, 0, 0, 0, 0)]])
    found = torch.tensor([[row(0, 0, 0, 4, 4, score=0.5), row(0, 0, 0, 4, 3, score=0.9)]])
    assert matched(found, target, threshold=0.5).tolist() == [[0, 0.75]]


def test_a_second_target_is_taken_where_the_best_is_gone() -> None:
    targets = torch.tensor([[row(1, 0, 0, 4, 4), row(1, 0, 0, 4, 3)]])
    found = torch.tensor([[row(1, 0, 0, 4, 4, score=0.9), row(1, 0, 0, 4, 4, score=0.8)]])
    assert matched(found, targets, threshold=0.5).tolist() == [[1, 0.75]]


def test_other_classes_low_overlaps_and_padding_match_nothing() -> None:
    targets = torch.tensor([[row(1, 0, 0, 4, 4), row(-1, 0, 0, 4, 4)]])
    found = torch.tensor(
        [
            [
                row(0, 0, 0, 4, 4, score=0.9),
                row(1, 0, 0, 4, 1, score=0.8),
                row(-1, 0, 0, 4, 4, score=0.0),
            ]
        ]
    )
    assert not matched(found, targets, threshold=0.5).any()


def slow_match(found: list[list[float]], targets: list[list[float]], threshold: float) -> dict[int, float]:
    """As COCO's evaluation: one by one, from the surest."""
    free, given = set(range(len(targets))), {}
    for at in sorted(range(len(found)), key=lambda i: -found[i][5]):
        best, which = threshold, -1
        for number in sorted(free):
            if targets[number][0] != found[at][0] or targets[number][0] < 0:
                continue
            iou = float(overlaps(torch.tensor([[found[at][1:5]]]), torch.tensor([[targets[number][1:]]])))
            if iou >= best and (which < 0 or iou > best):
                best, which = iou, number
        if which >= 0:
            given[at] = best
            free.remove(which)
    return given


def drawn(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Random boxes near each other, so that many overlap."""
    rng = torch.Generator().manual_seed(seed)

    def boxes(number: int) -> Tensor:
        corner = 3 * torch.rand(size, number, 2, generator=rng)
        sides = 2 + 3 * torch.rand(size, number, 2, generator=rng)
        label = torch.randint(-1, 2, (size, number, 1), generator=rng).float()
        return torch.cat([label, corner, corner + sides], 2)

    return torch.cat([boxes(6), torch.rand(size, 6, 1, generator=rng)], 2), boxes(4)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
def test_matching_of_a_batch_equals_one_by_one(threshold: float) -> None:
    found, targets = drawn(3, 40)
    given = matched(found, targets, threshold=threshold)
    assert given.any()
    for image in range(40):
        wanted = slow_match(found[image].tolist(), targets[image].tolist(), threshold)
        got = {at: value for at, value in enumerate(given[image].tolist()) if value}
        assert got == pytest.approx(wanted)


def test_sums_count_every_detection_once_in_its_bin() -> None:
    found, targets = drawn(4, 30)
    given = matched(found, targets, threshold=0.5)
    right, wrong, iou = score_bins(found, given, num_classes=2, num_bins=10)
    assert float(right.sum()) == float((given > 0).sum())
    assert float(iou.sum()) == pytest.approx(float(given.sum()))
    for label in range(2):
        scores = found[..., 5][found[..., 0] == label]
        wanted = torch.histc(scores, 10, 0, 1)
        assert (right + wrong)[label].tolist() == wanted.tolist()


def test_average_precision_is_that_computed_by_hand() -> None:
    """Right, wrong, right, with four targets: precisions 1, 1/2, 2/3 at recalls 1/4, 1/4, 2/4."""
    right, wrong = counts((1, 0.9), (1, 0.3)), counts((1, 0.6))
    assert average_precision(right, wrong, targets=np.array([4.0]))[0] == pytest.approx(1 / 4 + 2 / 3 / 4)


def test_average_precision_equals_the_areas_of_sklearn_where_all_are_found() -> None:
    """Where precision never rises again, the highest from there on is the precision itself."""
    from sklearn.metrics import average_precision_score

    right, wrong = counts((3, 0.9), (2, 0.7), (1, 0.1)), counts((1, 0.7), (5, 0.1))
    truth = [1] * 3 + [1] * 2 + [0] + [1] + [0] * 5
    scores = [0.9] * 3 + [0.7] * 3 + [0.1] * 6
    wanted = average_precision_score(truth, scores)
    assert average_precision(right, wrong, targets=np.array([6.0]))[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("right", "wrong", "targets", "wanted"),
    [
        (counts((5, 0.9)), counts(), 5.0, 1.0),
        (counts(), counts(), 5.0, 0.0),
        (counts(), counts((3, 0.9)), 5.0, 0.0),
        (counts(), counts((3, 0.9)), 0.0, 0.0),
        (counts((5, 0.9)), counts((99, 0.1)), 5.0, 1.0),
    ],
)
def test_average_precision_at_its_ends(right: Array, wrong: Array, targets: float, wanted: float) -> None:
    assert average_precision(right, wrong, targets=np.array([targets]))[0] == pytest.approx(wanted)


def test_lrp_error_is_that_computed_by_hand() -> None:
    """From 0.9 on: one right with IoU 0.8, one unfound: (0.4 + 0 + 1) / 2; from 0.3 on a wrong one more."""
    right, iou, wrong = counts((1, 0.9)), counts((1, 0.9)) * 0.8, counts((1, 0.3))
    error = lrp_error(right, wrong, iou=iou, targets=np.array([2.0]), threshold=0.5)
    assert error[0] == pytest.approx((0.4 + 1) / 2)


def test_lrp_error_is_0_where_all_is_right_and_1_where_nothing_is_found() -> None:
    perfect, none = counts((3, 0.9)), counts()
    targets = np.array([3.0])
    assert lrp_error(perfect, none, iou=perfect, targets=targets, threshold=0.5)[0] == pytest.approx(0)
    assert lrp_error(none, none, iou=none, targets=targets, threshold=0.5)[0] == 1
    assert lrp_error(none, perfect, iou=none, targets=targets, threshold=0.5)[0] == 1
