"""What forecasting shows: lines that are the numbers that were measured, of windows that the seed draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.metrics import to_sums
from nnray.seeding import torch_rng
from nnray.tasks.exhibit import Curves
from nnray.tasks.forecast_curves import channel_names, shown_windows, window_curves
from nnray.tasks.forecasting import Forecasting, forecasting, naive_seasonal

INFO = DataInfo(
    "made up",
    (3, 40),
    (),
    targets="numbers",
    target_shape=(2, 5),
    target_std=(2.0, 0.5),
    features=tuple("abc"),
)
COUNT = 30


class Last(nn.Module):
    """Says that all stays as it is."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, :2, -1:].expand(-1, -1, 5)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch_rng(0, "test")
    return torch.randn(COUNT, 3, 40, generator=rng), torch.randn(COUNT, 2, 5, generator=rng)


def shown(task: Forecasting, batch: tuple[torch.Tensor, torch.Tensor], *, seed: int = 0) -> dict[str, Curves]:
    return task.exhibits(Last(), *batch, seed=seed)


def test_a_window_shows_what_was_seen_what_came_and_both_forecasts() -> None:
    curves = window_curves(
        torch.tensor([7.0, 8]),
        torch.tensor([9.0, 10]),
        past=torch.arange(20.0),
        naive=torch.tensor([5.0, 6]),
        season=3,
        channel="load",
    )
    lines = {label: line.tolist() for label, line in curves.lines.items()}
    assert lines["truth"] == [14, 15, 16, 17, 18, 19, 9, 10]
    assert lines["forecast"][6:] == [7, 8]
    assert lines["naive seasonal"][6:] == [5, 6]
    assert curves.lines["forecast"][:6].isnan().all()
    assert curves.lines["naive seasonal"][:6].isnan().all()
    assert (curves.begin, curves.y) == (-5, "load")


@pytest.mark.parametrize(("season", "length"), [(1, 15), (15, 15), (24, 24), (40, 40)])
def test_the_season_that_is_repeated_can_be_seen(
    season: int, length: int, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    curves = shown(forecasting(INFO, season=season), batch)["forecast_1"]
    assert curves.begin == 1 - length
    assert {len(line) for line in curves.lines.values()} == {length + 5}
    repeated = curves.lines["truth"][length - season :][: min(season, 5)]
    assert torch.equal(curves.lines["naive seasonal"][length:][: len(repeated)], repeated)


def test_windows_show_the_channels_in_turn(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = shown(forecasting(INFO), batch)
    assert list(found) == ["forecast_1", "forecast_2", "forecast_3", "forecast_4", "error_by_step"]
    assert [found[f"forecast_{number}"].y for number in (1, 2, 3, 4)] == ["a", "b", "a", "b"]
    inputs, targets = batch
    for number, at in enumerate(shown_windows(COUNT, seed=0)):
        line = found[f"forecast_{number + 1}"].lines["truth"]
        assert torch.equal(line[-5:], targets[at, number % 2])
        assert torch.equal(line[:-5], inputs[at, number % 2, -15:])


def test_windows_are_drawn_by_the_seed_and_leave_torch_alone(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    before = torch.get_rng_state()
    one, again, other = (shown(forecasting(INFO), batch, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for name, curves in one.items():
        for label, line in curves.lines.items():
            assert torch.equal(line.nan_to_num(), again[name].lines[label].nan_to_num())
    assert any(
        not torch.equal(one[name].lines["truth"], other[name].lines["truth"])
        for name in one
        if name != "error_by_step"
    )


@pytest.mark.parametrize("count", [1, 3, 4, 100])
def test_no_more_windows_are_shown_than_there_are(count: int) -> None:
    found = shown_windows(count, seed=3)
    assert len(set(found)) == len(found) == min(count, 4)
    assert found == sorted(found)
    assert all(0 <= at < count for at in found)


def test_errors_by_step_are_on_average_the_measured_ones(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    task = forecasting(INFO, season=7)
    inputs, targets = batch
    measured = task.summarize(to_sums(task.eval_sums(Last()(inputs), targets, inputs=inputs), COUNT))
    lines = shown(task, batch)["error_by_step"].lines
    assert float(lines["forecast"].mean()) == pytest.approx(measured["mae"], rel=1e-5)
    assert float(lines["naive seasonal"].mean()) == pytest.approx(measured["naive_mae"], rel=1e-5)


def test_errors_by_step_tell_the_steps_apart() -> None:
    """The naive forecast of a line that climbs by 1 a step is off by as many as it looks ahead."""
    ramp = torch.arange(45.0).expand(4, 3, 45)
    task = forecasting(replace(INFO, target_std=(1.0, 1.0)))
    curves = task.exhibits(Last(), ramp[..., :40], ramp[:, :2, 40:], seed=0)["error_by_step"]
    assert curves.lines["naive seasonal"].tolist() == [1, 2, 3, 4, 5]
    assert curves.begin == 1
    naive = naive_seasonal(ramp[..., :40], ramp[:, :2, 40:], season=1)
    assert torch.equal(naive, Last()(ramp[..., :40]))
    assert torch.equal(curves.lines["forecast"], curves.lines["naive seasonal"])


def test_channels_without_names_go_by_number() -> None:
    assert channel_names(("x", "y", "z"), 2) == ("x", "y")
    assert channel_names((), 2) == ("channel 0", "channel 1")
    assert forecasting(replace(INFO, features=())).channels == ("channel 0", "channel 1")
