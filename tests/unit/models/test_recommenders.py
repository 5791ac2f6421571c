"""Models of ratings: their formulas by hand, what is a user's own, and what they refuse."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest
import torch

from nnray.config import load, require_federated
from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.preprocess import preprocess, require_outputs
from nnray.models.recommenders import MatrixFactorization, NeuMF, matrix_factorization, neumf
from nnray.seeding import torch_seeded
from tests.conftest import ROOT

INFO = DataInfo(
    "stars", (2,), (), categories=(5, 7), targets="numbers", target_mean=(3.5,), target_std=(2.0,)
)
PAIRS = torch.tensor([[1.0, 3.0], [4.0, 6.0], [1.0, 6.0]])
every_model = pytest.mark.parametrize("build", [matrix_factorization, neumf], ids=lambda b: b.__name__)


def drawn(build: Any, **options: Any) -> Any:
    """A network whose every number is something else than 0."""
    with torch_seeded(0, "init"):
        net = build(INFO, **options)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
    return net.eval()


def test_a_rating_is_biases_and_a_product() -> None:
    net = drawn(matrix_factorization, width=3)
    assert isinstance(net, MatrixFactorization)
    for (user, film), got in zip(PAIRS.int().tolist(), net(PAIRS).tolist(), strict=True):
        product = net.user.vector.weight[user] @ net.film.vector.weight[film]
        wanted = net.mean + net.user.bias.weight[user] + net.film.bias.weight[film] + product
        assert got == pytest.approx(wanted.item(), rel=1e-5)


def test_without_layers_neumf_is_linear_in_products_and_vectors() -> None:
    net = drawn(neumf, width=2, hidden=())
    assert isinstance(net, NeuMF)
    for (user, film), got in zip(PAIRS.int().tolist(), net(PAIRS).tolist(), strict=True):
        u, f = net.user.vector.weight[user], net.film.vector.weight[film]
        features = torch.cat([u[:2] * f[:2], u[2:], f[2:]])
        biases = net.output.bias + net.user.bias.weight[user] + net.film.bias.weight[film]
        assert got == pytest.approx((net.output.weight[0] @ features + biases).item(), rel=1e-4)


@every_model
def test_an_unknown_pair_is_rated_alike_whoever_asks(build: Any) -> None:
    """Nothing of code 0 is known before it is learnt."""
    with torch_seeded(0, "init"):
        model = preprocess(build(INFO), INFO).eval()
    for table in (model.net.user, model.net.film):  # type: ignore[union-attr]
        assert not table.bias.weight[0].any()  # type: ignore[union-attr, index, operator]
        assert not table.vector.weight[0].any()  # type: ignore[union-attr, index, operator]
    if build is matrix_factorization:
        assert model(torch.zeros(1, 2)).item() == 3.5


@every_model
def test_only_parameters_called_user_know_the_user(build: Any) -> None:
    """So that they can stay at a client."""
    net = drawn(build)
    net(PAIRS[:1]).sum().backward()
    by_user = [name for name, p in net.named_parameters() if p.ndim == 2 and len(p) == 5]
    assert by_user == ["user.bias.weight", "user.vector.weight"]
    for name in by_user:
        rows = net.get_parameter(name).grad.abs().sum(1) > 0
        assert rows.tolist() == [False, True, False, False, False]


@every_model
def test_answers_are_numbers_in_the_units_of_the_data(build: Any) -> None:
    model = preprocess(drawn(build), INFO)
    require_outputs("model", model, info=INFO)
    torch.testing.assert_close(model(PAIRS), model.net(PAIRS) * 2 + 3.5)


@every_model
@pytest.mark.parametrize(
    "info",
    [
        DataInfo("rows", (2,), ("a", "b"), categories=(5, 7)),
        DataInfo("rows", (2,), (), categories=(5, 0), targets="numbers"),
        DataInfo("rows", (3,), (), categories=(5, 2, 2), targets="numbers"),
        DataInfo("rows", (2,), (), targets="numbers"),
        DataInfo("rows", (2,), (), categories=(5, 7), targets="numbers", target_shape=(1,)),
    ],
)
def test_other_data_are_refused(build: Any, info: DataInfo) -> None:
    with pytest.raises(DataError, match=r"takes pairs of codes.* data set rows has .*use model tabular_mlp"):
        build(info)


def test_the_job_keeps_at_users_what_is_learnt_of_them() -> None:
    strategy = require_federated(load(ROOT / "jobs" / "movielens.yaml")).strategy
    model = preprocess(matrix_factorization(INFO), INFO)
    kept = [n for n, _ in model.named_parameters() if fnmatch(n, strategy.kwargs["personal"][0])]
    assert kept == ["net.user.bias.weight", "net.user.vector.weight"]
