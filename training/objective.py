"""What a method brings to the loop: networks, buffers and phases, and no word about devices."""

import abc
import dataclasses
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from models.image import Images

Batch = dict[str, Tensor]
Terms = dict[str, Float[Tensor, ""]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam:
    """Settings of one Adam."""

    rate: float
    betas: tuple[float, float] = (0.5, 0.999)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One kind of optimiser update: which weights move, on which loss, and when.

    Attributes:
        name: In logs.
        moves: Names in the objective's networks; phases with equal `moves` share no optimiser state.
        optimizer: Of these weights.
        loss: Weighted, named scalars of a batch; their sum is minimised.
        start: First step.
        stop: Step before which it ends; None for never.
    """

    name: str
    moves: tuple[str, ...]
    optimizer: Adam
    loss: Callable[[Batch], Terms]
    start: int = 0
    stop: int | None = None

    def active(self, step: int) -> bool:
        """Whether this phase has its turn in `step`, counted from 0."""
        return step >= self.start and (self.stop is None or step < self.stop)


class Objective(abc.ABC):
    """A method of training.

    Attributes:
        networks: What is trained, by name; the loop may wrap them for several processes.
        buffers: State that is saved but not trained.
        frozen: Networks that are neither trained nor saved.
        phases: In the order of their turns within a step.
        averaged: The network whose moving average is kept.
    """

    networks: dict[str, nn.Module]
    buffers: nn.ModuleDict
    frozen: nn.ModuleDict
    phases: tuple[Phase, ...]
    averaged: str

    @abc.abstractmethod
    def export(self, averaged: nn.Module) -> nn.Module:
        """The part of the averaged network that is published: it maps Images to Images."""

    def adopt(self, network: nn.Module, published: dict[str, Tensor]) -> None:
        """Give a network (the averaged one, or its copy) the weights of a published checkpoint."""
        self.export(network).load_state_dict(published, strict=True)

    @abc.abstractmethod
    def provenance(self) -> dict[str, str]:
        """What else made the weights: frozen networks by name and hash."""

    def statistics(self, averaged: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures for the log besides the losses, of one batch."""
        return {}

    @abc.abstractmethod
    def samples(self, averaged: nn.Module, batch: Batch) -> list[Images]:
        """Columns of the sample grid, made with the averaged network."""

    def close(self) -> None:
        """End whatever the objective started."""
