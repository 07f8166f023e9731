"""Where a trajectory stands, and what ends with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from multigen.core.caching import Held
from multigen.core.samplers import Trajectory
from multigen.generation.edit import EditPlan
from multigen.generation.guidance import say_strong
from multigen.generation.plan import Plan


@dataclass
class Phase:
    """Where a trajectory stands: on the way up in noise its guide is another.

    noted      how far guidance went in weak noise, [B] on the device, and the log-SNR there
    held       what its guides hold from step to step, freed at its end
    purified   the source of an edit in model space after it was purified, [1, C, *D]; None before, and where none is
    seed       of the medium
    condition  of a cascade, what the network sees of the stage before, [1, K, *D]; or, where that hands its sample
               over, that sample; None until that has ended
    """

    inverting: bool
    noted: list[tuple[Tensor, float]]
    seed: int
    condition: Tensor | None = None
    held: list[Held] = field(default_factory=list)
    purified: Tensor | None = None

    def purifies(self, edit: EditPlan | None) -> bool:
        """Whether the source of an edit is still on its way through noise."""
        return edit is not None and edit.purifying is not None and self.purified is None

    def source(self, edit: EditPlan) -> Tensor:
        """The source of an edit in model space as it conditions, [1, C, *D]."""
        return edit.x0 if self.purified is None else self.purified

    @property
    def shown(self) -> Tensor:
        """The condition, once it is there."""
        assert self.condition is not None
        return self.condition


def asides(walk: Trajectory) -> Trajectory:
    """A trajectory of what conditions a medium, whose queries say so."""
    try:
        query = next(walk)
        while True:
            query = walk.send((yield query._replace(aside=True)))
    except StopIteration as stop:
        return stop.value
    finally:
        walk.close()


def to_its_end(walk: Trajectory, plan: Plan, phase: Phase) -> Trajectory:
    """A trajectory that frees what its guides hold in the end, also where it is cancelled.

    And says how far guidance went, when the host waits for the device anyway.
    """
    try:
        x = yield from walk
    finally:
        for held in phase.held:
            held.clear()
    say_strong(plan.guide, phase.noted)
    return x
