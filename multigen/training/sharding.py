"""Sharding: each rank holds a part of the network, of its gradients, averages and optimizer (`launch.fsdp`).

torch's `fully_shard` (FSDP2: Zhao et al. 2023, arXiv:2304.11277) cuts each parameter along its first axis and gathers
it for the time that its block computes. Everything else here works on the rank's own part as on any tensor: the
optimizer and the averages go value by value. Only the norm of the gradient and the files of a checkpoint need the
other ranks. Those files are the same as without: `Layout.whole` gathers them, `Layout.cut` takes a part of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from multigen.core.copies import keep_no_copies
from multigen.errors import RecipeError
from multigen.recipe.schema import Recipe
from multigen.training import ranks

Files = Mapping[str, Mapping[str, Tensor]]  # of a checkpoint: name -> tensors

_OPTIMIZER = "optimizer"  # its tensors are named by a parameter's number: 0.exp_avg


def check_sharding(recipe: Recipe) -> None:
    """RecipeError where `launch.fsdp` has nothing that it can shard."""
    if not recipe.launch.fsdp:
        return
    if ranks.world() == 1:
        raise RecipeError(
            "launch.fsdp: true is not allowed in one process, which holds everything anyway. Allowed: several, as by "
            "launch=torchrun launch.nproc=2"
        )
    if recipe.trains == "codec":
        raise RecipeError(
            f"launch.fsdp: true is not allowed with {recipe.name}, which trains a codec: it is small, and its networks "
            "are called in parts. Allowed: false"
        )
    if recipe.train.distill is not None:
        raise RecipeError(
            "train.distill: it is not allowed with launch.fsdp=true, because its teacher works beside the network. "
            "Allowed: launch.fsdp=false"
        )
    if recipe.train.compile:
        raise RecipeError("train.compile: true is not allowed with launch.fsdp=true. Allowed: false")


def shard(backbone: nn.Module, device: torch.device) -> None:
    """Cut the parameters of a backbone over the ranks, each of its blocks by itself, and the rest together.

    A block is an item of a list of modules. Gradients are summed, not averaged, over the ranks, because losses are
    divided by the global batch already.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard  # here, because it takes half a second

    # It warns of what nothing here does: to change the network's output in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (ranks.world(),))
    keep_no_copies(
        backbone
    )  # FSDP2 fills the gathered weights anew at each call, and counts no version of them
    for block in _blocks(backbone):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # Also the rest is given back after a forward pass: weights may be exchanged for their averages before the next.
    fully_shard(backbone, mesh=mesh, reshard_after_forward=True)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost items of lists of modules that have parameters."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (item for item in child if next(item.parameters(), None) is not None)
        else:
            yield from _blocks(child)


def part(tensor: Tensor) -> Tensor:
    """This rank's part of a parameter, or of its gradient; all of one that is not cut. It shares the memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_cut(tensor: Tensor) -> bool:
    """Whether the ranks hold a part each."""
    return isinstance(tensor, DTensor)


class Layout:
    """How the parameters of a training's main network lie on the ranks.

    parameters  as the network has them, by name, in the order of its optimizer
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = dict(parameters)
        self.cut_at_all = any(isinstance(p, DTensor) for p in parameters.values())
        self._numbered = {str(k): p for k, p in enumerate(self.parameters.values())}

    def whole(self, files: Files) -> dict[str, dict[str, Tensor]]:
        """The files of a checkpoint from the parts of all ranks; every rank calls it, and all but the first get {}."""
        if not self.cut_at_all:
            return {name: dict(tensors) for name, tensors in files.items()}
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensors in files.items():
            for key, tensor in tensors.items():
                like = self._like(name, key)
                full = _gathered(tensor, like) if like is not None and tensor.ndim else tensor
                if ranks.first():
                    found.setdefault(name, {})[key] = full.detach().cpu()
        return found

    def cut(self, files: Files) -> dict[str, dict[str, Tensor]]:
        """This rank's part of the files of a checkpoint."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensors in files.items():
            found[name] = {}
            for key, tensor in tensors.items():
                like = self._like(name, key) if self.cut_at_all else None
                found[name][key] = _own(tensor, like) if like is not None and tensor.ndim else tensor
        return found

    def _like(self, name: str, key: str) -> DTensor | None:
        """The cut parameter that a tensor of a file goes with."""
        by_number = name == _OPTIMIZER
        like = self._numbered.get(key.partition(".")[0]) if by_number else self.parameters.get(key)
        return like if isinstance(like, DTensor) else None


def _gathered(tensor: Tensor, like: DTensor) -> Tensor:
    """A tensor from the parts of all ranks."""
    mesh, placements = like.device_mesh, like.placements
    shape, stride = like.shape, like.stride()
    with ranks.communicating():
        spread = DTensor.from_local(tensor, mesh, placements, run_check=False, shape=shape, stride=stride)
        return spread.full_tensor()


def _own(tensor: Tensor, like: DTensor) -> Tensor:
    """This rank's part of a tensor, as `fully_shard` cuts: along the first axis, into parts as `torch.chunk` makes."""
    parts = tensor.chunk(like.device_mesh.size())
    mine = like.device_mesh.get_local_rank()
    return parts[mine] if mine < len(parts) else tensor[:0]


def clip_gradients(
    parameters: Mapping[str, nn.Parameter], whole: Mapping[str, Tensor], most: float
) -> Tensor:
    """Scale gradients down to a norm of at most `most`; the norm before, over all ranks.

    parameters  what the optimizer steps, each the `part` of that of `whole`
    """
    if not any(isinstance(p, DTensor) for p in whole.values()):
        return nn.utils.clip_grad_norm_(parameters.values(), most)
    grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    device = next(iter(parameters.values())).device
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of what is cut, and of the rest
    for name, grad in grads.items():
        sums[0 if isinstance(whole[name], DTensor) else 1] += grad.double().square().sum()
    norm = torch.tensor(ranks.total(float(sums[0])) + float(sums[1]), dtype=torch.float64).sqrt()
    factor = float((most / (norm + 1e-6)).clamp(max=1.0))
    for grad in grads.values():
        grad.mul_(factor)
    return norm
