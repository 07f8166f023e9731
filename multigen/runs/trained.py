"""What a finished training leaves in its run folder: the averaged weights, or the adapter that it trained."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from multigen.model import weights as model_weights
from multigen.model.model import Model
from multigen.recipe.paths import WEIGHTS
from multigen.training import ranks
from multigen.training.adapting import Adaptation, Learned
from multigen.training.trainer import Trainer


def write_trained(
    trainer: Trainer, model: Model, adapter: Adaptation | None, base: Mapping[str, str] | None
) -> None:
    """Write the averaged weights of a finished training, or the adapter that it trained."""
    averaged = None
    if trainer.state.layout.cut_at_all:  # all ranks put it together
        averaged = trainer.state.checkpoint().tensors.get("ema")
    if not ranks.first():
        return
    folder, recipe = trainer.folder, model.recipe
    with nullcontext() if averaged is not None else trainer.ema.applied():
        if adapter is None:
            tensors = model.state_dict() if averaged is None else averaged
            own = model_weights.stored(tensors, model.knowledge, recipe, model.codec)
            model_weights.save_weights(folder / WEIGHTS, own, half=False)
            return
        backbone = model.denoiser.backbone
        names = {n: p.detach() for n, p in trainer.parameters.items()}
        tensors = names if averaged is None else {n: averaged[n] for n in names}
        adapter.write(folder, Learned(tensors, recipe, backbone.published, base), backbone)
