"""Claim: a CNN that knows MNIST takes images made of noise for digits, and finds all ten among them.

Trains jobs/mnist_cnn.yaml for 4 epochs, and jobs/mnist_gan.yaml for each seed, or takes them where the folder
has them. Told are the mean confidence of the CNN in the images made, that of the digit it is least sure of,
the share of the rarest digit, how many images are taken for the digit that was asked for, and a distance of
Fréchet's between the features before the CNN's output: like FID, but of our own CNN, and to be compared with
no published figure. It is to digits that the CNN does not learn from (a generator may have seen some). Beside
them stand the figures of test digits, of noise, and of a generator that has learnt nothing.

    python benchmarks/gan_score.py --seeds 3 --folder .scratch/gan
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from _machine import row, versions
from torch import Tensor, nn

import nnray
from nnray.assembly import build_model, load_data
from nnray.data.batches import as_float
from nnray.data.splits import DataSplits, Examples
from nnray.runners.subject import open_subject
from nnray.seeding import torch_rng
from nnray.tasks.adversarial_generation import generate

JOBS = Path(__file__).parent.parent / "jobs"


@dataclass(frozen=True, slots=True)
class Score:
    """What a CNN says of images.

    Args:
        confidence: Mean probability of the likeliest digit.
        weakest: The same over images of one digit, for the least sure; 0 if one never comes up.
        rarest: Share of the digit that comes up least.
        distance: Fréchet's, to the features of validation digits.
        agreement: Share of images taken for the digit that they ought to be; None where that is unknown.
    """

    confidence: float
    weakest: float
    rarest: float
    distance: float
    agreement: float | None = None

    def __str__(self) -> str:
        said = "" if self.agreement is None else f", {self.agreement:.1%} as asked for"
        return (
            f"confidence {self.confidence:.3f} (of the least sure digit {self.weakest:.3f}), "
            f"rarest digit {self.rarest:.1%}, distance {self.distance:.1f}{said}"
        )


def seen(cnn: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of images, and the features that its last layer takes, in float64."""
    features: list[Tensor] = []
    last = [layer for layer in cnn.modules() if isinstance(layer, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    with torch.inference_mode():
        logits = torch.cat([cnn(part) for part in torch.split(images, 500)])
    hook.remove()
    return logits.double(), torch.cat(features).double()


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared distance of two Gaussians with the means and covariances of features.

    Source: Dowson and Landau 1982, equation 4.
    """
    first, second = torch.cov(one.T), torch.cov(other.T)
    values, vectors = torch.linalg.eigh(first)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * cross)


def score(cnn: nn.Module, images: Tensor, *, real: Tensor, wanted: Tensor | None = None) -> Score:
    """What the CNN says of images, compared with the features of real ones.

    Args:
        cnn: Takes pixels from 0 to 1.
        images: Of which half are more than features.
        real: Features of real images, as `seen` gives them.
        wanted: The digit that each image ought to be.
    """
    logits, features = seen(cnn, images)
    sure, digits = logits.softmax(1).max(1)
    counts = torch.bincount(digits, minlength=logits.shape[1])
    by_digit = torch.bincount(digits, weights=sure, minlength=logits.shape[1]) / counts.clamp(min=1)
    return Score(
        confidence=float(sure.mean()),
        weakest=float(by_digit.min()),
        rarest=float(counts.min()) / len(images),
        distance=frechet(features, real),
        agreement=None if wanted is None else float((digits == wanted).double().mean()),
    )


def trained(job: str, folder: Path, *, seed: int, overrides: Sequence[str] = ()) -> nn.Module:
    """The model that a job comes to with a seed, trained now if it is not there."""
    store = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.dir={folder}/runs"]
    result = nnray.train(JOBS / f"{job}.yaml", [f"seed={seed}", *overrides, *store], once=f"{job}_{seed}")
    return open_subject(str(result.folder), root=folder / "runs").module.eval()


def asked(model: nn.Module, count: int) -> Tensor | None:
    """The digits that `generate` asks a generator for, if it is told any."""
    classes = max(getattr(part, "classes", 0) for part in model.modules())
    return torch.arange(count) % classes if classes else None


def controls(cnn: nn.Module, splits: DataSplits, *, real: Tensor, count: int) -> Iterator[tuple[str, Score]]:
    """The scores of digits that are new to the CNN, of noise, and of a generator that has learnt nothing."""
    assert splits.test is not None
    test = splits.test()
    assert isinstance(test, Examples)
    pixels = as_float(test.inputs[:count])
    yield "test digits", score(cnn, pixels, real=real, wanted=test.targets[:count])
    noise = torch.rand(len(pixels), *pixels.shape[1:], generator=torch_rng(0, "noise"))
    yield "noise", score(cnn, noise, real=real)
    blank = build_model(nnray.load(JOBS / "mnist_gan.yaml"), splits.info)
    yield "untrained", score(cnn, generate(blank, count, seed=0), real=real)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path(".scratch/gan"))
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cnn = trained("mnist_cnn", folder, seed=0, overrides=["training.epochs=4"])
    splits = load_data(nnray.load(JOBS / "mnist_cnn.yaml"))
    assert isinstance(splits.val, Examples)
    _, real = seen(cnn, as_float(splits.val.inputs))
    print(versions("torch"))
    for name, said in controls(cnn, splits, real=real, count=options.images):
        print(f"{name}: {said}", flush=True)
    for seed in range(options.seeds):
        model = trained("mnist_gan", folder, seed=seed)
        made, wanted = generate(model, options.images, seed=seed), asked(model, options.images)
        said = score(cnn, made, real=real, wanted=wanted)
        print(row("mnist_gan", f"seed {seed}", str(said)), flush=True)


if __name__ == "__main__":
    main()
