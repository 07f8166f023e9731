"""Tasks: what a training teaches, that is, which networks learn and the losses that they learn from.

The trainer steps optimizers, averages weights, saves and resumes. A task supplies losses: `Diffusion` for recipes that
train a denoiser, `Vocoding` for those that train a codec.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn

from multigen.training.batch import Batch

MODEL = "model"  # name of the network that is averaged, measured and saved


class Task(ABC):
    """The networks that learn, and their losses. All randomness is keyed by (seed, step, position in the batch).

    networks   MODEL, and networks that only help it to learn, such as a critic; each has an optimizer of its own
    base       hashes of the frozen weights beside which an adapter learns; None: there is no adapter
    """

    networks: Mapping[str, nn.Module]
    base: Mapping[str, str] | None = None

    @abstractmethod
    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        """Yield for each network its name and the parts that add up to its loss.

        batch      the rows of this rank (`ranks.rows`); the losses of all ranks add up to that of the global batch
        progress   share of the training that is done

        The trainer steps a network before it asks for the next.
        """

    @abstractmethod
    def measure(self, step: int = 0) -> dict[str, float]:
        """Return the held-out loss at a step: "mean" and its components. Empty if nothing is held out."""

    @abstractmethod
    def details(self) -> dict[str, float]:
        """Return the mean training loss since the last call by component. Empty if it has none."""

    @abstractmethod
    def mode(self, training: bool) -> None:
        """Switch layers such as dropout between training and evaluation."""

    @abstractmethod
    def training(self) -> AbstractContextManager[None]:
        """Set what holds from the first step to the last, such as the precision."""
