"""The U-Net: sizes, independence of samples, masks, symmetry, gradients, inflation, faults."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.deep import Deep
from multigen.core.noise import normal
from multigen.errors import RecipeError

SPEC = CondSpec(vector=5, tokens=6, grid=2)


def awake(net: UNet) -> UNet:
    """Every parameter drawn anew, so that what starts at zero takes part."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            fan = max(1, p[0].numel()) if p.ndim > 1 else 16
            p.copy_(normal(p.shape, 0, name) * fan**-0.5)
            if p.ndim == 1 and "norm" in name and name.endswith("weight"):
                p.add_(1)
    return net


def small(axes: int = 2, spec: CondSpec = SPEC, seed: int = 0, **arguments: object) -> UNet:
    torch.manual_seed(seed)
    arguments = {"widths": (8, 12), "blocks": 1, "head_width": 4, **arguments}
    return UNet(axes=axes, channels=3, out_channels=4, cond=spec, **arguments)  # pyright: ignore[reportArgumentType]


def condition(batch: int, size: tuple[int, ...], key: str = "cond") -> Cond:
    mask = torch.arange(7)[None] < torch.arange(1, batch + 1)[:, None].clamp(max=7)
    return Cond(
        normal((batch, 5), 1, key, "vector"),
        normal((batch, 7, 6), 1, key, "tokens"),
        mask,
        normal((batch, 2, *size), 1, key, "grid"),
    )


def inputs(batch: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor, Cond]:
    return normal((batch, 3, *size), 2, "x"), torch.linspace(-20, 20, batch), condition(batch, size)


SIZES = [(1, (17,)), (1, (1,)), (2, (9, 14)), (2, (1, 7)), (3, (5, 7, 6)), (3, (1, 8, 8))]


@pytest.mark.parametrize(("axes", "size"), SIZES)
def test_any_size_and_each_sample_alone(axes: int, size: tuple[int, ...]) -> None:
    """In float64, so that what differs by more than 1e-15 is a fault."""
    net = awake(small(axes)).double()
    x, c_noise, cond = inputs(3, size)
    x, c_noise = x.double(), c_noise.double()
    cond = cond.map(lambda part: part.double() if part.is_floating_point() else part)
    together = net(x, c_noise, cond)
    assert together.shape == (3, 4, *size)
    alone = torch.cat([net(x[i : i + 1], c_noise[i : i + 1], cond[i : i + 1]) for i in range(3)])
    assert together.std() > 0.1
    torch.testing.assert_close(together, alone, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_output_starts_at_zero(axes: int) -> None:
    x, c_noise, cond = inputs(2, (4, 8, 8)[-axes:])
    assert small(axes)(x, c_noise, cond).abs().max() == 0


@pytest.mark.parametrize("part", ["x", "c_noise", "vector", "tokens", "grid"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_everything_given_has_an_influence(axes: int, part: str) -> None:
    size = (4, 8, 8)[-axes:]
    net, (x, c_noise, cond) = awake(small(axes)), inputs(2, size)
    before, other = net(x, c_noise, cond), condition(2, size, "other")
    given = {"x": x, "c_noise": c_noise, "vector": cond.vector, "tokens": cond.tokens, "grid": cond.grid}
    changed = {"x": x.flip(0), "c_noise": c_noise * 0.98, "vector": other.vector, "tokens": other.tokens}
    given[part] = {**changed, "grid": other.grid}[part]
    new = Cond(given["vector"], given["tokens"], cond.mask, given["grid"])
    assert given["x"] is not None
    assert given["c_noise"] is not None
    assert (net(given["x"], given["c_noise"], new) - before).abs().max() > 1e-3


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_tokens_have_no_influence(axes: int, dtype: torch.dtype) -> None:
    size = (4, 8, 8)[-axes:]
    net, (x, c_noise, cond) = awake(small(axes)), inputs(2, size)
    assert cond.tokens is not None
    assert cond.mask is not None
    garbage = torch.where(cond.mask[..., None], cond.tokens, 1e3 * normal((2, 7, 6), 3, "garbage"))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        padded = net(x, c_noise, cond)
        dirty = net(x, c_noise, Cond(cond.vector, garbage, cond.mask, cond.grid))
        cut = net(x, c_noise, Cond(cond.vector, cond.tokens[:, :2], cond.mask[:, :2], cond.grid))
    assert torch.equal(dirty, padded)
    torch.testing.assert_close(cut, padded, atol=1e-5 if dtype == torch.float32 else 0.1, rtol=1e-2)


@pytest.mark.parametrize("axes", [1, 2])
def test_moves_with_its_input(axes: int) -> None:
    """Without attention, shifting a bump by the stride shifts the output; a shift by less does not, exactly."""
    net = awake(small(axes, CondSpec(), attention=(False, False))).double()
    where = tuple(range(2, 2 + axes))
    x = torch.zeros(
        1, 3, *(160,) * axes
    )  # wide enough for what the bump reaches (35) to stay off the borders (31)
    x[(..., *(slice(76, 84),) * axes)] = normal((1, 3, *(8,) * axes), 4, "bump")
    middle = (..., *(slice(40, 120),) * axes)
    with torch.no_grad():
        zero, x = torch.zeros(1, dtype=torch.float64), x.double()
        y, moved, half = (net(x.roll((n,) * axes, where), zero, Cond()) for n in (0, 2, 1))
    torch.testing.assert_close(moved.roll((-2,) * axes, where)[middle], y[middle], atol=1e-9, rtol=1e-9)
    assert (half.roll((-1,) * axes, where) - y)[middle].abs().max() > 1e-3


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_reach_every_parameter(axes: int) -> None:
    """Zero-initialised layers pass gradients on one step after another: output, then branches, then what feeds them."""
    net, (x, c_noise, cond) = small(axes), inputs(2, (4, 8, 8)[-axes:])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):
        optimizer.zero_grad(set_to_none=True)
        (net(x, c_noise, cond) - 1).square().mean().backward()
        optimizer.step()
    # The bias of keys adds the same to every score, which the softmax takes away: half of that bias stays still.
    still = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    assert still == []


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_gives_the_same_gradients(axes: int, dropout: float) -> None:
    gradients = []
    for checkpoint in (False, True):
        net = awake(small(axes, checkpoint=checkpoint, dropout=dropout))
        x, c_noise, cond = inputs(2, (4, 8, 8)[-axes:])
        torch.manual_seed(3)
        net(x, c_noise, cond).square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_memory_layout_changes_nothing(axes: int) -> None:
    x, c_noise, cond = inputs(2, (3, 7, 6)[-axes:])
    answers = []
    for channels_last in (False, True, None):
        net = awake(small(axes, channels_last=channels_last))
        y = net(x, c_noise, cond)
        y.square().mean().backward()
        answers.append((y, [p.grad for p in net.parameters()]))
    for y, gradients in answers[1:]:
        torch.testing.assert_close(y, answers[0][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(gradients, answers[0][1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_bf16_is_near_fp32(axes: int) -> None:
    net, (x, c_noise, cond) = awake(small(axes)), inputs(2, (4, 8, 8)[-axes:])
    exact = net(x, c_noise, cond)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = net(x, c_noise, cond)
    assert (coarse.float() - exact).norm() < 0.05 * exact.norm()


def test_grid_of_another_size_is_fitted() -> None:
    net, (x, c_noise, cond) = awake(small(2)), inputs(2, (8, 8))
    level = torch.tensor([[0.5, -1.0], [2.0, 0.25]])[:, :, None, None]
    fine = net(x, c_noise, Cond(cond.vector, cond.tokens, cond.mask, level.expand(2, 2, 8, 8)))
    coarse = net(x, c_noise, Cond(cond.vector, cond.tokens, cond.mask, level.expand(2, 2, 3, 2)))
    torch.testing.assert_close(coarse, fine)


def silenced(net: UNet, *layers: str) -> UNet:
    """The network with these layers' parameters zero."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if any(layer in name for layer in layers):
                p.zero_()
    return net


def test_inflated_video_network_treats_each_frame_as_an_image() -> None:
    image, video = awake(small(2)), small(3, seed=1)
    video.load_state_dict(video.inherit(image.state_dict()))
    x, c_noise, cond = inputs(2, (5, 7, 6))
    assert cond.grid is not None
    frames = [
        image(x[:, :, t], c_noise, Cond(cond.vector, cond.tokens, cond.mask, cond.grid[:, :, t]))
        for t in range(5)
    ]
    y = video(x, c_noise, cond)
    assert y.std() > 0.1
    torch.testing.assert_close(y, torch.stack(frames, dim=2), atol=1e-5, rtol=1e-5)


def test_video_network_sees_the_order_of_frames() -> None:
    """Not through its convolutions or the frames' places alone: attention over time knows how far they lie apart."""
    net = silenced(awake(small(3, CondSpec())), "time_conv", "time_place")
    x = normal((1, 3, 6, 4, 4), 5, "x")
    order = torch.tensor([0, 3, 1, 4, 2, 5])
    c_noise = torch.zeros(1)
    shuffled = net(x[:, :, order], c_noise, Cond())
    assert (shuffled - net(x, c_noise, Cond())[:, :, order]).abs().max() > 1e-3
    backwards = net(x.flip(2), c_noise, Cond()).flip(2)
    assert (backwards - net(x, c_noise, Cond())).abs().max() > 1e-3


def test_video_network_knows_a_frames_place() -> None:
    """Equal frames come out unequal, though nothing else tells them apart."""
    net = silenced(awake(small(3, CondSpec())), "time_conv", "time_attention")
    x = normal((1, 3, 1, 4, 4), 5, "x").expand(-1, -1, 6, -1, -1)
    y = net(x, torch.zeros(1), Cond())
    assert min((y[:, :, a] - y[:, :, b]).abs().max() for a, b in combinations(range(6), 2)) > 1e-3
    torch.testing.assert_close(net(x[:, :, :3], torch.zeros(1), Cond()), y[:, :, :3])


def test_only_a_video_network_grows_by_what_it_inherits() -> None:
    image, video = small(2).state_dict(), small(3)
    assert video.inherit(image).keys() == video.state_dict().keys()
    assert small(2).inherit(image).keys() == image.keys()
    assert (
        small(2).inherit(video.state_dict()).keys() == video.state_dict().keys()
    )  # too many: loading refuses
    placeless = {k: v for k, v in video.state_dict().items() if "time_place" not in k}  # as they once were
    assert video.inherit(placeless).keys() == video.state_dict().keys()
    part = {k: v for k, v in video.state_dict().items() if k != "down.0.residual.time_conv.conv.weight"}
    assert len(part) < len(video.state_dict())
    assert video.inherit(part).keys() == part.keys()  # a damaged one stays so


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_learns_a_tiny_batch_by_heart(axes: int) -> None:
    net = small(axes, widths=(16, 24), dropout=0.0)
    size = (3, 8, 8)[-axes:]
    x, c_noise, cond = inputs(2, size)
    target = normal((2, 4, *size), 6, "target")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = (net(x, c_noise, cond) - target).square().mean()
        loss.backward()
        optimizer.step()
        if loss < 0.15:  # it has; further steps would show no more
            break
    assert loss < 0.15  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"axes": 4}, "axes: 4"),
        ({"attention": (True,)}, "attention.*each of 2 widths"),
        ({"attention": (False, False)}, "attention.*tokens"),
        ({"kernel": 4}, "kernel: 4.*odd"),
        ({"widths": ()}, "widths"),
        ({"blocks": 0}, "blocks: 0"),
        ({"dropout": 1.0}, "dropout: 1.0"),
        ({"groups": -1}, "groups: -1"),
        ({"head_width": 0}, "head_width: 0"),
        ({"skip_scale": 0.0}, "skip_scale"),
        ({"embedding": 0}, "embedding: 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("x", "cond", "says"),
    [
        (torch.zeros(2, 3, 8), {}, "2 axes"),
        (torch.zeros(2, 1, 8, 8), {}, r"\[B, 3"),
        (torch.zeros(2, 3, 8, 8), {"vector": None}, "cond.vector: width 0 given, 5 expected"),
        (torch.zeros(2, 3, 8, 8), {"grid": torch.zeros(2, 9, 8, 8)}, "cond.grid: width 9 given, 2 expected"),
        (torch.zeros(2, 3, 8, 8), {"tokens": None, "mask": None}, "cond.tokens"),
    ],
)
def test_bad_inputs_are_named(x: Tensor, cond: dict[str, Tensor | None], says: str) -> None:
    good = condition(2, (8, 8))
    parts = {"vector": good.vector, "tokens": good.tokens, "mask": good.mask, "grid": good.grid, **cond}
    with pytest.raises(ValueError, match=says):
        small(2)(x, torch.zeros(2), Cond(**parts))


def test_builds_from_a_recipe() -> None:
    given = {"axes": 1, "channels": 3, "out_channels": 3, "cond": CondSpec()}
    part = registry.Part("unet", {"widths": [8, 12], "attention": [True, False], "kernel": 5})
    net = registry.build("backbone", part, given=given)
    assert net(torch.zeros(1, 3, 9), torch.zeros(1), Cond()).shape == (1, 3, 9)
    with pytest.raises(RecipeError, match="backbone.*attention"):
        registry.build("backbone", registry.Part("unet", {"attention": [True]}), given=given)
    with pytest.raises(RecipeError, match=r"backbone\.widths"):
        registry.build("backbone", registry.Part("unet", {"widths": ["8"]}), given=given)


def test_a_grid_condition_comes_and_goes_without_a_change_while_it_says_nothing() -> None:
    without, within = CondSpec(vector=6), CondSpec(vector=6, grid=2)
    plain, told, grown, back = (small(1, s) for s in (without, within, within, without))
    for network in (plain, told):
        torch.nn.init.normal_(network.leave.weight, std=0.1)
    grown.load_state_dict(grown.inherit(plain.state_dict()))
    back.load_state_dict(back.inherit(told.state_dict()))
    x, level, cond = torch.randn(2, 3, 16), torch.zeros(2), Cond(vector=torch.randn(2, 6))
    blank, said = cond.with_grid(torch.zeros(2, 2, 16)), cond.with_grid(torch.ones(2, 2, 16))
    assert torch.allclose(grown(x, level, said), plain(x, level, cond), atol=1e-5)
    assert torch.allclose(back(x, level, cond), told(x, level, blank), atol=1e-5)
    assert (told(x, level, said) - told(x, level, blank)).abs().max() > 1e-3
    # Further channels come after those that are there, as a mask's after a conditioner's.
    wider = small(1, CondSpec(vector=6, grid=5, shown=3))
    wider.load_state_dict(wider.inherit(told.state_dict()))
    more = said.join_grid(torch.randn(2, 3, 16))
    assert torch.allclose(wider(x, level, more), told(x, level, said), atol=1e-5)
    # A condition's come before those of a mask that is there.
    wider = small(1, CondSpec(vector=6, grid=5, shown=2))
    wider.load_state_dict(wider.inherit(told.state_dict()))
    more = cond.with_grid(torch.randn(2, 3, 16)).join_grid(torch.ones(2, 2, 16))
    assert torch.allclose(wider(x, level, more), told(x, level, said), atol=1e-5)
    # Where either may be meant, it is not guessed: loading says that the shapes differ.
    wider = small(1, CondSpec(vector=6, grid=4, shown=2))
    assert wider.inherit(told.state_dict())["enter.weight"].shape[1] == 5


@pytest.mark.parametrize("axes", [1, 2, 3])
@torch.no_grad()
def test_a_shallow_call_with_its_own_features_is_the_full_one(axes: int) -> None:
    """At every depth, and in other rows: features follow their samples."""
    size = {1: (17,), 2: (9, 14), 3: (3, 6, 6)}[axes]
    net = awake(small(axes))
    x, c_noise, cond = inputs(3, size)
    assert net.outermost == 3
    full, keep = net(x, c_noise, cond), Deep(range(1, 4))
    assert torch.equal(net(x, c_noise, cond, deep=keep), full)
    for outer, made in keep.kept.items():
        assert torch.equal(net(x, c_noise, cond, deep=Deep((outer,), made)), full)
        some = net(x[1:], c_noise[1:], cond[1:], deep=Deep((outer,), tuple(one[1:] for one in made)))
        torch.testing.assert_close(some, full[1:], rtol=0, atol=1e-5)
        other = net(x, c_noise, cond, deep=Deep((outer,), tuple(one.flip(0) for one in made)))
        assert not torch.allclose(other, full, rtol=0, atol=1e-3)
