"""A run small enough for tests: a perceptual network with random weights, made-up pictures, the real command."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models import features, image


def perceptual() -> features.Perceptual:
    """A narrow stand-in with VGG-19's layer numbers and seeded random weights."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for convolutions in (2, 2, 4, 4):
            for _ in range(convolutions):
                layers += [nn.Conv2d(4 if layers else 3, 4, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
    return features.VGG19(nn.Sequential(*layers[:26]))


def pictures(folder: Path, count: int, *, seed: int, side: int = 80) -> Path:
    """Write smooth random pictures as PNG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        picture = image.resize(image.from_uint8(coarse[None]), height=side, width=side)
        (folder / f"{index:02d}.png").write_bytes(image.png(picture))
    return folder


def main() -> int:
    """Run the training command with the tiny network in place of the local one."""
    from training import train

    torch.set_num_threads(1)
    features.PERCEPTUAL["local"] = perceptual
    return train.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
