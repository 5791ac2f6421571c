"""Claim: a CNN that knows MNIST takes images made of noise for digits, and finds all ten among them.

Trains jobs/mnist_cnn.yaml, and jobs/mnist_gan.yaml for each seed, or takes them where the folder has them.
Told are the mean confidence of the CNN in the images made, the share of the rarest digit, and a distance of
Fréchet's between the features before the CNN's output: like FID, but of our own CNN, and to be compared with
no published figure. Beside them stand the figures of test images, and of noise.

    python benchmarks/gan_score.py --seeds 3 --folder .scratch/gan
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from _machine import row, versions
from torch import Tensor, nn

import nnray
from nnray.assembly import load_data
from nnray.data.batches import as_float
from nnray.data.splits import Examples
from nnray.runners.subject import open_subject
from nnray.seeding import torch_rng
from nnray.tasks.adversarial_generation import generate

JOBS = Path(__file__).parent.parent / "jobs"


@dataclass(frozen=True, slots=True)
class Score:
    """What a CNN says of images.

    Args:
        confidence: Mean probability of the likeliest digit.
        rarest: Share of the digit that comes up least.
        distance: Fréchet's, to the features of test images.
    """

    confidence: float
    rarest: float
    distance: float

    def __str__(self) -> str:
        return (
            f"confidence {self.confidence:.3f}, rarest digit {self.rarest:.1%}, distance {self.distance:.1f}"
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


def score(cnn: nn.Module, images: Tensor, *, real: Tensor) -> Score:
    """What the CNN says of images, compared with the features of real ones."""
    logits, features = seen(cnn, images)
    sure, digits = logits.softmax(1).max(1)
    counts = torch.bincount(digits, minlength=logits.shape[1])
    return Score(float(sure.mean()), float(counts.min()) / len(images), frechet(features, real))


def trained(job: str, folder: Path, *, seed: int) -> nn.Module:
    """The model that a job comes to with a seed, trained now if it is not there."""
    store = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.dir={folder}/runs"]
    result = nnray.train(JOBS / f"{job}.yaml", [f"seed={seed}", *store], once=f"{job}_{seed}")
    return open_subject(str(result.folder), root=folder / "runs").module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path(".scratch/gan"))
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cnn = trained("mnist_cnn", folder, seed=0)
    test = load_data(nnray.load(JOBS / "mnist_cnn.yaml")).test
    assert test is not None
    split = test()
    assert isinstance(split, Examples)
    pixels = as_float(split.inputs)
    half, count = len(pixels) // 2, min(options.images, len(pixels) // 2)
    _, real = seen(cnn, pixels[:half])
    noise = torch.rand(count, *pixels.shape[1:], generator=torch_rng(0, "noise"))
    print(versions("torch"))
    print(f"test images: {score(cnn, pixels[half : half + count], real=real)}", flush=True)
    print(f"noise: {score(cnn, noise, real=real)}", flush=True)
    for seed in range(options.seeds):
        made = generate(trained("mnist_gan", folder, seed=seed), count, seed=seed)
        print(row("mnist_gan", f"seed {seed}", str(score(cnn, made, real=real))), flush=True)


if __name__ == "__main__":
    main()
