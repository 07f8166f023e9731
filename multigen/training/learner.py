"""A network that learns: its parameters, their optimizer, and their files in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from multigen.core.copies import changed
from multigen.errors import MultigenError
from multigen.recipe.schema import Train
from multigen.storage.tensors import mismatches
from multigen.training.sharding import is_cut, part
from multigen.training.task import MODEL

Files = Mapping[str, Mapping[str, Tensor]]  # of a checkpoint: name -> tensors


class Learner:
    """A network of a task and its AdamW optimizer.

    name   name of the network in its task; the files of MODEL are called "weights" and "optimizer"
    """

    def __init__(self, name: str, network: nn.Module, settings: Train, device: torch.device) -> None:
        # As the network has them; what learns is this rank's part of each.
        self.whole = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.files = ("weights", "optimizer") if name == MODEL else (name, f"{name}-optimizer")
        self.parameters = {n: _learning(p) for n, p in self.whole.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cuda", "cpu"),
        )

    def gradient(self, parts: Iterator[Tensor]) -> Tensor:
        """Return the sum of the parts of a loss, float64 on their device. Its gradient is left in the parameters."""
        # The loss of an earlier network may have left gradients here, too.
        self.optimizer.zero_grad(set_to_none=True)
        for whole in self.whole.values():
            whole.grad = None
        losses = []
        for loss in parts:
            loss.backward()
            losses.append(loss.detach())
        for name, parameter in self.parameters.items():
            grad = self.whole[name].grad
            if grad is not None and parameter is not self.whole[name]:
                parameter.grad = part(grad)
        return torch.stack(losses).double().sum()

    def update(self, lr: float, bad: Tensor | None = None) -> None:
        """Make a step of the optimizer, which is fused. Nothing changes if `bad`, 0-d on the device, is 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # As torch.amp.GradScaler passes to a fused optimizer what only the device knows.
        vars(self.optimizer).update({} if bad is None else {"found_inf": bad, "grad_scale": None})
        self.optimizer.step()
        changed(self.parameters.values())

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the files of a checkpoint. The tensors are the live ones, not copies."""
        weights, optimizer = self.files
        return {
            weights: {n: p.detach() for n, p in self.parameters.items()},
            optimizer: optimizer_tensors(self.optimizer),
        }

    def mismatches(self, files: Files) -> list[str]:
        """List the first differences from the weights of a checkpoint."""
        whole = {name: self.whole.get(name, p) for name, p in self.parameters.items()}
        return mismatches(whole, files.get(self.files[0], {}))

    def load(self, files: Files) -> None:
        """Set weights and optimizer from a checkpoint."""
        weights, optimizer = self.files
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(files[weights][name])
        load_optimizer(self.optimizer, files[optimizer])


def _learning(parameter: nn.Parameter) -> nn.Parameter:
    """What the optimizer steps of a parameter: itself, or this rank's part, in the same memory."""
    return nn.Parameter(part(parameter.detach())) if is_cut(parameter) else parameter


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as named tensors: `<parameter index>.<key>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set an optimizer's state. MultigenError if it belongs to other parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        known = parameters[int(index)] if index.isdecimal() and int(index) < len(parameters) else None
        if known is None or (tensor.ndim and tensor.shape != known.shape):
            raise MultigenError(
                f"the optimizer's state belongs to other parameters: {name} is {list(tensor.shape)}"
            )
        # A copy: the loaded tensor may be the memory-mapped file itself, which goes with the checkpoint.
        state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
