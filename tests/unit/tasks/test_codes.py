"""Codes and their map: principal components against a slow oracle, and what is shown of autoencoders."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.autoencoders import autoencoder, conv_autoencoder, vae
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.codes import encode, encoder_of, principal_map
from nnray.tasks.exhibit import Picture, Points
from nnray.tasks.pictures import above, grid
from nnray.tasks.reconstruction import example_errors, reconstruction

IMAGES = DataInfo("images", (1, 6, 5), ("a", "b"), (0.4,), (0.2,))
ROWS = DataInfo("rows", (7,), ("a", "b"), (0.4,) * 7, (0.2,) * 7)


def draw(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch_rng(0, "inputs"))


def test_the_map_is_that_of_the_covariance_s_eigenvectors() -> None:
    codes = draw(200, 5) @ torch.diag(torch.tensor([5.0, 0.1, 3.0, 1.0, 0.5]))
    places, shares = principal_map(codes)
    values, vectors = torch.linalg.eigh(torch.cov(codes.double().T))
    for number in (0, 1):
        axis = vectors[:, -1 - number]
        wanted = (codes.double() - codes.double().mean(0)) @ (axis * axis[axis.abs().argmax()].sign())
        torch.testing.assert_close(places[:, number].double(), wanted, rtol=1e-4, atol=1e-4)
        assert shares[number] == pytest.approx(float(values[-1 - number] / values.sum()))


def test_a_map_doesn_t_depend_on_where_codes_lie_nor_on_their_order() -> None:
    codes = draw(50, 4)
    order = torch.randperm(50, generator=torch_rng(0, "order"))
    places, _ = principal_map(codes)
    torch.testing.assert_close(principal_map(codes + 7)[0], places, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(principal_map(codes[order])[0], places[order], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("codes", [draw(9, 1), torch.ones(4, 3), draw(2, 3)], ids=["one", "same", "two"])
def test_a_map_of_little_is_finite(codes: Tensor) -> None:
    places, shares = principal_map(codes)
    assert places.shape == (len(codes), 2)
    assert places.isfinite().all()
    assert 0 <= sum(shares) <= 1 + 1e-6


@pytest.mark.parametrize("build", [autoencoder, conv_autoencoder, vae])
def test_images_their_codes_and_the_odd_ones_are_shown(build: object) -> None:
    with torch_seeded(0, "init"):
        model = preprocess(build(IMAGES, latent=3), IMAGES).eval()  # type: ignore[operator]
    x, labels = draw(50, 1, 6, 5), torch.arange(50) % 2
    with torch.no_grad():
        shown, outputs = reconstruction(IMAGES).exhibits(model, x, labels, seed=0), model(x)
    assert set(shown) == {"reconstructions", "anomalies", "codes"}
    first, odd, codes = (shown[name] for name in ("reconstructions", "anomalies", "codes"))
    assert isinstance(first, Picture)
    assert isinstance(odd, Picture)
    assert isinstance(codes, Points)
    assert torch.equal(first.pixels, above(x[:32], outputs[:32]))
    worst = int(example_errors(outputs, x).argmax())
    assert torch.equal(odd.pixels[:, :6, :5], x[worst])
    assert torch.equal(odd.pixels[:, 6:12, :5], outputs[worst])
    torch.testing.assert_close(codes.places, principal_map(encode(model, x))[0])
    assert torch.equal(codes.labels, labels)
    assert codes.classes == ("a", "b")


def test_rows_have_a_map_and_no_picture() -> None:
    model, x = preprocess(autoencoder(ROWS, latent=3), ROWS).eval(), draw(9, 7)
    with torch.no_grad():
        assert set(reconstruction(ROWS).exhibits(model, x, torch.zeros(9), seed=0)) == {"codes"}


def test_targets_that_are_no_classes_give_no_colours() -> None:
    info = DataInfo("numbers", (7,), (), (0.4,) * 7, (0.2,) * 7, targets="numbers", target_shape=())
    model, x = preprocess(autoencoder(info, latent=3), info).eval(), draw(9, 7)
    with torch.no_grad():
        points = cast("Points", reconstruction(info).exhibits(model, x, draw(9), seed=0)["codes"])
    assert points.classes == ()
    assert points.labels.tolist() == [0] * 9


def test_a_network_of_a_user_s_own_may_have_no_codes() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(30, 30), nn.Unflatten(1, (1, 6, 5)))
    x = draw(9, 1, 6, 5)
    with torch.no_grad():
        assert set(reconstruction(IMAGES).exhibits(net, x, torch.zeros(9), seed=0)) == {
            "reconstructions",
            "anomalies",
        }
    assert encoder_of(net) is None
    with pytest.raises(DataError, match="has no codes"):
        encode(mlp(ROWS), draw(2, 7))


def test_pairs_stand_one_above_the_other() -> None:
    upper, lower = draw(5, 3, 4, 2), 1 - draw(5, 3, 4, 2)
    made = above(upper, lower, columns=3)
    assert made.shape == (3, 16, 6)
    assert torch.equal(made[:, :4, 2:4], upper[1])
    assert torch.equal(made[:, 4:8, 2:4], lower[1])
    assert torch.equal(made[:, 8:12, :2], upper[3])
    assert not made[:, 8:, 4:].any()
    assert torch.equal(grid(upper, columns=5), torch.cat(list(upper), 2))
