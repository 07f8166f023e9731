"""Convolutions of three by three with fewer multiplications, for sampling on CPUs.

A tile of m outputs along an axis is a polynomial product, evaluated at n = m + 2 points, multiplied there and
interpolated (Winograd 1980; Lavin & Gray 2016, arXiv:1509.09308, section 4). With g a kernel of three and d the m + 2
inputs that it sees:

    y = A^T [(G g) (B^T d)]                in two axes  Y = A^T [(G g G^T) (B^T d B)] A

Outputs take (n/m)^2 multiplications each where the plain way takes nine: 2.25 for m = 4. The sum over channels is n^2
products of matrices, which run at the processor's best speed. The points 0, ±3/4, ±3/2 and infinity keep rounding
errors small: 7e-6 of the output's deviation at most, 2e-6 the plain way (96 channels; with the usual 0, ±1, ±2 it is
3e-5). How to choose them: Barabasz et al. 2020, arXiv:1803.10986. On one axis the transforms take all that the products
save.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.forward_ad import unpack_dual

from multigen.core.circles import OPEN, Closed, extend
from multigen.core.copies import KeepsCopies, Stamp

OUTPUTS = 4  # m
_TAPS = OUTPUTS + 2  # n
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)  # and infinity
_TILES = (32, 128)  # fewest and most of one product: fewer multiply slowly
_CACHE = 8192  # tiles times channels of one product: more leave the processor's cache
_LEAST_WIDTH = (
    45  # inputs times outputs over their sum: in narrower layers the transforms take what the products save
)
_LEAST_PLACES = 32  # of a sample: on smaller ones tiles are too few


def _polynomial(roots: list[float]) -> list[float]:
    """Coefficients of the product of (x - root), lowest first."""
    found = [1.0]
    for root in roots:
        found = [low - root * high for low, high in zip([0.0, *found], [*found, 0.0], strict=True)]
    return found


def matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return B^T [n, n], G [n, 3] and A^T [m, n] in float64."""
    n = _TAPS
    into, kernel = [], []
    for i, point in enumerate(_POINTS):
        others = [q for j, q in enumerate(_POINTS) if j != i]
        scale = 1.0
        for q in others:
            scale *= point - q
        into.append([*_polynomial(others), 0.0])
        kernel.append([point**k / scale for k in range(3)])
    into.append(_polynomial(list(_POINTS)))
    kernel.append([0.0, 0.0, 1.0])
    back = [[p**k for p in _POINTS] + [float(k == OUTPUTS - 1)] for k in range(OUTPUTS)]
    assert len(into) == len(kernel) == n
    return tuple(torch.tensor(rows, dtype=torch.float64) for rows in (into, kernel, back))  # type: ignore[return-value]


class Held(NamedTuple):
    """A layer's transformed kernel, and the weight that it was made of.

    kernel   [n², C, C']
    into     B^T for both axes, [n², n²]
    back     A^T for both axes, [m², n²]
    made_of  the weight: another one needs another kernel
    """

    kernel: Tensor
    into: Tensor
    back: Tensor
    made_of: Stamp


def held(weight: Tensor) -> Held:
    """Transform a kernel [C', C, 3, 3]."""
    into, g, back = matrices()
    kernel = torch.einsum("ai,bj,ocij->abco", g, g, weight.detach().double()).flatten(0, 1)
    before, after = torch.kron(into, into).float(), torch.kron(back, back).float()
    return Held(kernel.float().contiguous(), before, after, Stamp.of(weight))


def convolve(x: Tensor, layer: Held, bias: Tensor | None) -> Tensor:
    """Convolve x [R, C, H, W] with stride 1 and zeros around it -> [R, C', H, W], channels last in memory."""
    rows, channels, height, width = x.shape
    m, n, wide = OUTPUTS, _TAPS, layer.kernel.shape[2]
    down, right = -(-height // m), -(-width // m)
    more = (1, right * m - width + 1, 1, down * m - height + 1)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, *more))
    tiles = padded.unfold(1, n, m).unfold(2, n, m).permute(4, 5, 0, 1, 2, 3)
    out = x.new_empty(rows, down, m, right, m, wide)
    many = max(_TILES[0], min(_TILES[1], _CACHE // (channels + wide)))
    high = max(1, min(down, many // right))  # rows of tiles in one product
    step = max(1, min(rows, many // (down * right)))
    for start in range(0, rows, step):
        for top in range(0, down, high):
            part = tiles[:, :, start : start + step, top : top + high]
            seen = (layer.into @ part.reshape(n * n, -1)).view(n * n, -1, channels)
            made = layer.back @ torch.bmm(seen, layer.kernel).view(n * n, -1)
            made = made.view(m, m, *part.shape[2:5], wide).permute(2, 3, 0, 4, 1, 5)
            place = out[start : start + step, top : top + high]
            if bias is None:
                place.copy_(made)
            else:
                torch.add(made, bias, out=place)
    return out.view(rows, down * m, right * m, wide)[:, :height, :width].permute(0, 3, 1, 2)


class Conv(KeepsCopies, nn.Conv2d):
    """A convolution of a folded tensor [R, C, H, W] that takes the quickest way on CPUs where nothing learns.

    Which way is decided by the sizes of a sample, never by how many there are. It is made as any `nn.Conv2d` is, for
    adapters make layers of a layer's own class.

    padding  places at each border; None: half the kernel
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] | None = None,
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        given = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
        super().__init__(width_in, width_out, kernel, stride, given, groups=groups, bias=bias)
        self._held: Held | None = None

    @property
    def copied_bytes(self) -> int:
        """Bytes of the transformed kernel: four times the weight's."""
        return 0 if self._held is None else self._held.kernel.nbytes

    def forget_copies(self) -> None:
        """Let the transformed kernel go."""
        self._held = None

    def forward(self, input: Tensor, closed: Closed = OPEN) -> Tensor:
        """[R, C, H, W] -> [R, C', H', W']. Along closed axes the end continues in the beginning."""
        return self._of_circle(input, closed) if closed else self._plain(input)

    def _of_circle(self, x: Tensor, closed: Closed) -> Tensor:
        """As `forward`, of x with what lies beyond its closed ends."""
        padding = (int(self.padding[0]), int(self.padding[1]))
        down, right = (n if closed.goes_on(axis) else 0 for axis, n in zip((-2, -1), padding, strict=True))
        if not down and not right:
            return self._plain(x)
        more = extend(x, (right, right, down, down), closed)
        if self._takes_few_products(x):
            made = self._few_products(more)
            return made[:, :, down : down + x.shape[2], right : right + x.shape[3]]
        rest = (padding[0] - down, padding[1] - right)
        return F.conv2d(more, self.weight, self.bias, self.stride, rest, self.dilation, self.groups)

    def _plain(self, x: Tensor) -> Tensor:
        if self.kernel_size == (1, 1) and self._samples(x):
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return self._few_products(x) if self._takes_few_products(x) else super().forward(x)

    def _samples(self, x: Tensor) -> bool:
        """Whether x takes a way of our own: it keeps its size, and nothing learns."""
        half = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        plain = self.stride == (1, 1) and self.groups == 1 and self.padding == half
        return plain and samples_on_cpu(x)

    def _takes_few_products(self, x: Tensor) -> bool:
        return self.kernel_size == (3, 3) and self._samples(x) and self._pays(x)

    def _pays(self, x: Tensor) -> bool:
        if not self.keeps_copies or x.shape[2] * x.shape[3] < _LEAST_PLACES:
            return False
        a, b = self.in_channels, self.out_channels
        used = 1.0  # share of the tiles' places that are in the sample
        for size in x.shape[2:]:
            used *= size / (-(-size // OUTPUTS) * OUTPUTS)
        known = isinstance(self.weight, nn.Parameter) and not self.weight.is_inference()
        return known and used * a * b >= _LEAST_WIDTH * (a + b)

    def _few_products(self, x: Tensor) -> Tensor:
        layer = self._held
        if layer is None or not layer.made_of.holds(self.weight):
            layer = self._held = held(self.weight)
        return convolve(x, layer, self.bias)


def samples_on_cpu(x: Tensor) -> bool:
    """Whether x is fp32 on the CPU, outside autocast, and nothing learns from it, traces or transforms it."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or torch._C._get_tracing_state():
        return False
    if is_functorch_wrapped_tensor(x) or unpack_dual(x).tangent is not None:
        return False
    return not torch.onnx.is_in_onnx_export()
