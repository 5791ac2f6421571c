"""Explainers against Captum, against all coalitions, and by hand."""

from __future__ import annotations

import pytest
import torch
from captum import attr
from scipy.stats import spearmanr
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel
from nnray.explainers.explainer import Explainer, baseline_of
from nnray.explainers.grad_cam import GradCam, grad_cam, spatial_layers
from nnray.explainers.gradients import integrated_gradients, saliency
from nnray.explainers.occlusion import occlusion
from nnray.explainers.sanity import rank_correlations, redraw
from nnray.explainers.shap import players_of, shap
from nnray.models.cnn import cnn
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.models.resnet import resnet
from nnray.seeding import torch_rng, torch_seeded

INFO = DataInfo("images", (3, 12, 12), ("a", "b", "c"), mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))
TABLE = DataInfo("table", (7,), ("a", "b", "c"), mean=(0.0,) * 7, std=(1.0,) * 7)
IMAGES = torch.rand(3, 3, 12, 12, generator=torch_rng(1, "images"))
ROWS = torch.randn(3, 7, generator=torch_rng(1, "rows"))
TARGETS = torch.tensor([0, 2, 1])


def image_model() -> nn.Module:
    with torch_seeded(1, "init"):
        return preprocess(cnn(INFO, channels=(4, 8), hidden=16, activation="gelu"), INFO).eval()


def table_model() -> nn.Module:
    with torch_seeded(1, "init"):
        return preprocess(mlp(TABLE, hidden=(16, 16), activation="tanh"), TABLE).eval()


def test_saliency_is_captums() -> None:
    model = image_model()
    wanted = attr.Saliency(model).attribute(IMAGES.clone().requires_grad_(), target=TARGETS)
    torch.testing.assert_close(saliency(INFO)(model, IMAGES, TARGETS), wanted)


def test_integrated_gradients_are_captums() -> None:
    model = table_model()
    wanted = attr.IntegratedGradients(model).attribute(ROWS, target=TARGETS, n_steps=200)
    found = integrated_gradients(TABLE, tolerance=1e-4)(model, ROWS, TARGETS)
    torch.testing.assert_close(found, wanted.to(found), rtol=1e-3, atol=1e-4)


def test_integrated_gradients_find_a_kink() -> None:
    """Of relu(x - 0.73) on the way from 0 to 1 the integral is 0.27: a few even pieces can't tell."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), ([[1.0]], [-0.73], [[1.0], [0.0]], [0.0, 0.0]), strict=True
        ):
            parameter.copy_(torch.tensor(value))
    info = DataInfo("one", (1,), ("a", "b"))
    found = integrated_gradients(info, steps=2, tolerance=0.01)(model, torch.ones(1, 1), torch.tensor([0]))
    assert found.item() == pytest.approx(0.27, rel=0.01)


def test_grad_cam_is_captums() -> None:
    model = image_model()
    wanted = attr.LayerGradCam(model, model.net.activation2).attribute(
        IMAGES, target=TARGETS, relu_attributions=True
    )
    wanted = attr.LayerAttribution.interpolate(wanted, (12, 12), "bilinear")
    found = grad_cam(INFO)(model, IMAGES, TARGETS)
    torch.testing.assert_close(found, wanted.expand_as(found))
    assert found.any()


def test_occlusion_is_captums() -> None:
    model = image_model()
    wanted = attr.Occlusion(model).attribute(
        IMAGES, target=TARGETS, sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2), baselines=0
    )
    found = occlusion(INFO, window=4, stride=2)(model, IMAGES, TARGETS)
    torch.testing.assert_close(found, wanted.to(found), rtol=1e-4, atol=1e-6)


def test_exact_shapley_values_are_captums() -> None:
    info = DataInfo("small", (4,), ("a", "b", "c"))
    with torch_seeded(1, "init"):
        model = mlp(info, hidden=(16, 16), activation="tanh").eval()
    wanted = attr.ShapleyValues(model).attribute(ROWS[:, :4], target=TARGETS)
    found = shap(info, way="exact")(model, ROWS[:, :4], TARGETS)
    torch.testing.assert_close(found, wanted.to(ROWS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("way", "samples"), [("permutation", 400), ("kernel", 400)])
def test_sampled_shapley_values_come_near_all_coalitions(way: str, samples: int) -> None:
    model = table_model()
    exact = shap(TABLE, way="exact")(model, ROWS, TARGETS)
    few, many = (shap(TABLE, way=way, samples=n)(model, ROWS, TARGETS) for n in (4, samples))  # type: ignore[arg-type]
    assert (many - exact).norm() < 0.03 * exact.norm()
    assert (many - exact).norm() < (few - exact).norm()
    assert torch.equal(shap(TABLE)(model, ROWS, TARGETS), exact)


def test_players_are_features_or_patches_that_cover_the_image() -> None:
    assert players_of((3,), None).tolist() == [0, 1, 2]
    players = players_of((2, 5, 4), 2)
    assert players.shape == (2, 5, 4)
    assert players[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3], [4, 4, 5, 5]]
    assert torch.equal(players[0], players[1])
    assert int(players_of((1, 28, 28), None).max()) == 48


def test_too_many_players_for_all_coalitions_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 players at the most, here are 36"):
        shap(INFO, way="exact")


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(ConfigError, match="not be more than the window, 3"):
        occlusion(INFO, window=3, stride=4)


def test_the_last_window_ends_at_the_edge() -> None:
    seen = torch.zeros(3, 12, 12)
    for mask in occlusion(INFO, window=5, stride=5).masks(IMAGES[0]):
        assert mask.sum() == 3 * 25
        seen += mask
    assert seen.min() == 1


@pytest.mark.parametrize(("name", "wanted"), [("auto", (0.0,)), ("zero", (0.0,)), ("mean", (0.4, 0.5, 0.6))])
def test_a_baseline_has_a_value_for_each_channel(name: str, wanted: tuple[float, ...]) -> None:
    baseline = baseline_of(INFO, name).of(IMAGES)  # type: ignore[arg-type]
    assert baseline.shape == IMAGES.shape
    assert baseline[0, :, 0, 0].tolist() == pytest.approx(list(wanted) * (3 // len(wanted)))


def test_the_layer_of_grad_cam_is_the_last_with_height_and_width() -> None:
    model = image_model()
    assert GradCam().layer_of(model, IMAGES) == "net.activation2"
    assert (
        GradCam("conv1").layer_of(model, IMAGES)
        == GradCam("net.conv1").layer_of(model, IMAGES)
        == "net.conv1"
    )
    assert "net.flatten" not in spatial_layers(model, IMAGES)
    deep = preprocess(resnet(INFO, depth=20, width=4), INFO).eval()
    assert GradCam().layer_of(deep, IMAGES).endswith("block3.activation2")
    with pytest.raises(ConfigError, match=r"no layer 'convl'.*did you mean"):
        GradCam("convl").layer_of(model, IMAGES)


def test_grad_cam_refuses_a_model_without_maps_and_lists_its_layers() -> None:
    with pytest.raises(IncompatibleModel, match=r"net\.hidden1 \(Linear\): its output has no height"):
        grad_cam(TABLE)(table_model(), ROWS, TARGETS)


def test_a_layer_that_works_in_place_is_seen_before_it() -> None:
    def model(inplace: bool) -> nn.Module:
        with torch_seeded(2, "init"):
            layers = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.Flatten(), nn.Linear(400, 3)
        return nn.Sequential(*layers).eval()

    there, apart = (grad_cam(INFO, layer="0")(model(inplace), IMAGES, TARGETS) for inplace in (True, False))
    assert torch.equal(there, apart)
    assert there.any()


def test_rank_correlation_is_spearmans_with_ties() -> None:
    first = torch.randint(0, 5, (4, 30), generator=torch_rng(1, "first"))
    second = first + torch.randint(0, 5, (4, 30), generator=torch_rng(1, "second"))
    wanted = [spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
    assert rank_correlations(first, second).tolist() == pytest.approx(wanted)
    assert rank_correlations(first, torch.zeros(4, 30)).isnan().all()


def test_redrawn_weights_have_the_old_scale_and_nothing_else_of_the_old() -> None:
    layer = nn.Linear(200, 100)
    before = layer.weight.detach().clone()
    redraw(layer, seed=1, name="layer")
    after: Tensor = layer.weight.detach()
    assert after.std().item() == pytest.approx(before.std().item(), rel=0.05)
    assert abs(rank_correlations(before.flatten()[None], after.flatten()[None]).item()) < 0.05
    norm = nn.BatchNorm2d(3)
    redraw(norm, seed=1, name="norm")
    assert torch.equal(norm.weight, torch.ones(3))


@pytest.mark.parametrize("make", [saliency, integrated_gradients, occlusion])
def test_a_model_in_training_is_a_fault_of_the_caller(make: object) -> None:
    explainer: Explainer = make(TABLE)  # type: ignore[operator]
    with pytest.raises(AssertionError, match="random"):
        explainer(table_model().train(), ROWS, TARGETS)
