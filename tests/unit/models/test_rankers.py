"""Scores of all films for a user: the formula by hand, what is a user's own, and when it is chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.preprocess import preprocess, require_outputs
from nnray.models.rankers import FactorRanker, is_ranked
from nnray.models.recommenders import matrix_factorization, neumf
from nnray.seeding import torch_seeded

INFO = DataInfo(
    "films", (1,), ("no", "yes"), (0.0,), (1.0,), categories=(5,), targets="classes", target_shape=(7,)
)
USERS = torch.tensor([[1.0], [4.0], [1.0], [0.0]])


def made(**options: Any) -> FactorRanker:
    with torch_seeded(0, "init"):
        net = matrix_factorization(INFO, **options)
    assert isinstance(net, FactorRanker)
    torch.nn.init.normal_(net.film.bias, generator=torch.Generator().manual_seed(1))
    return net.eval()


def test_a_score_is_a_bias_and_a_product() -> None:
    net = made(width=3)
    scores = net(USERS)
    for row, user in enumerate(USERS[:, 0].int().tolist()):
        for film in range(7):
            wanted = net.user.weight[user] @ net.film.weight[film] + net.film.bias[film]
            assert scores[row, film].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_to_an_unknown_user_films_have_their_biases() -> None:
    net = made()
    assert torch.equal(net(USERS[3:])[0], net.film.bias)


def test_only_what_is_called_user_knows_the_user() -> None:
    net = made()
    net(USERS[:1]).square().sum().backward()
    assert [name for name, _ in net.named_parameters() if name.startswith("user.")] == ["user.weight"]
    assert net.user.weight.grad is not None
    assert net.user.weight.grad.abs().sum(1).bool().tolist() == [False, True, False, False, False]


def test_dropout_is_for_learning() -> None:
    net = made(dropout=0.5)
    assert torch.equal(net(USERS), net(USERS))
    with torch_seeded(0, "train"):
        assert not torch.equal(net.train()(USERS), net.eval()(USERS))


def test_outputs_fit_what_ranking_asks() -> None:
    require_outputs("matrix_factorization", preprocess(made(), INFO), info=INFO, wanted=(7,))


@pytest.mark.parametrize(
    "info",
    [
        DataInfo("pairs", (2,), (), categories=(5, 7), targets="numbers"),
        DataInfo("rows", (1,), ("no", "yes"), categories=(5,)),
        DataInfo("rows", (1,), ("no", "yes"), targets="classes", target_shape=(7,)),
        DataInfo("rows", (1,), tuple("abc"), categories=(5,), targets="classes", target_shape=(7,)),
    ],
)
def test_other_data_are_not_ranked(info: DataInfo) -> None:
    assert is_ranked(INFO) and not is_ranked(info)


def test_neumf_rates_pairs_alone() -> None:
    with pytest.raises(DataError, match="takes pairs of codes"):
        neumf(INFO)
