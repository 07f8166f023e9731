"""Our samplers equal diffusers' schedulers and k-diffusion's functions on one nonlinear network, step noise included.

The network F(x, log-SNR) is `Tiny`. Foreign samplers see it through their own conventions: diffusers' VP schedulers
at integer indices (t = (i+1)/1000), those in sigma space after `scale_model_input`, k-diffusion as x, sigma -> x0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import AysSchedules
from torch import Tensor

from multigen.core import Cond, Denoiser, Schedule, plain, predictions, samplers, schedules, solve, timesteps
from multigen.core.noise import normal
from tests.core.networks import Tiny
from tests.core.peers import k_sampling

SHAPE = (3, 4, 8, 8)
TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OUTPUTS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
STEPS = 12
DDIM_STEPS = 20  # DDIMScheduler steps by 1000 // n, which is its own spacing only where n divides 1000


def step_noise(purpose: str, index: int) -> Tensor:
    return normal(SHAPE, 11, purpose, index)


def start() -> Tensor:
    return normal(SHAPE, 3, "start")


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' schedulers draw our step noise: its k-th draw is noise("step", k)."""
    drawn = iter(range(1000))

    def randn_tensor(shape: Any, **_: Any) -> Tensor:
        return step_noise("step", next(drawn)).reshape(tuple(shape))

    for module in ("ddim", "ddpm", "euler_ancestral_discrete"):
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{module}.randn_tensor", randn_tensor)


def ours(
    sampler: Callable[..., samplers.Trajectory],
    schedule: Schedule,
    prediction: str,
    ts: Tensor,
    **options: Any,
) -> Tensor:
    denoiser = Denoiser(Tiny(), schedule, getattr(predictions, prediction)())
    _, sigma = schedule(ts[:1])
    trajectory = sampler(schedule, sigma.float() * start(), ts, step_noise, **options)
    return solve(trajectory, plain(Cond(), Cond()), denoiser)


def theirs(
    scheduler: Any,
    x: Tensor,
    network: Callable[[Tensor, Tensor], Tensor],
    scales: bool = True,
    **options: Any,
) -> Tensor:
    """The usual loop: scale (flow schedulers have no such method), call the network at (x, timestep), step."""
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, t) if scales else x, t)
        x = scheduler.step(output, t, x, **options).prev_sample
    return x


def at_index(schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """F at a table index, which may lie between two."""

    def network(x: Tensor, index: Tensor) -> Tensor:
        snr = schedule.log_snr((index.double().reshape(1) + 1) / 1000).clamp(-20, 20)
        return Tiny()(x, snr.float().expand(len(x)), Cond())

    return network


def close(a: Tensor, b: Tensor) -> None:
    """To 2e-5 of the largest value, 1e-4 at least.

    An eps answer is divided by alpha, 0.07 at the start: x0 reaches 43, and rounding an answer changes the sample 27
    times as much. Found: 1.5e-6 of the largest value. A network told a tenth of an index more fails by 25.
    """
    assert b.std() > 0.1  # a sample that died out would agree with anything
    atol = max(1e-4, 2e-5 * b.abs().max().item())
    torch.testing.assert_close(a.double(), b.double(), atol=atol, rtol=0)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", OUTPUTS)
def test_ddim(prediction: str, spacing: str) -> None:
    schedule = schedules.scaled_linear()
    ts = getattr(timesteps, spacing)(schedule, DDIM_STEPS)
    options = {"clip_sample": False, "timestep_spacing": spacing, "prediction_type": OUTPUTS[prediction]}
    scheduler = DDIMScheduler(**TABLE, **options)
    scheduler.set_timesteps(DDIM_STEPS)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.ddim, schedule, prediction, ts), theirs(scheduler, x, at_index(schedule)))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_eta_and_the_same_noise(eta: float, same_noise: None) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, DDIM_STEPS)
    scheduler = DDIMScheduler(
        **TABLE, clip_sample=False, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    scheduler.set_timesteps(DDIM_STEPS)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.ddim, schedule, "v", ts, eta=eta), theirs(scheduler, x, at_index(schedule), eta=eta))


def test_ddim_from_zero_terminal_snr() -> None:
    schedule = schedules.scaled_linear(zero_terminal_snr=True)
    ts = timesteps.trailing(schedule, DDIM_STEPS)
    options = {"clip_sample": False, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    scheduler = DDIMScheduler(**TABLE, **options, rescale_betas_zero_snr=True)
    scheduler.set_timesteps(DDIM_STEPS)
    close(ours(samplers.ddim, schedule, "v", ts), theirs(scheduler, start(), at_index(schedule)))


def test_ddpm_with_the_same_noise(same_noise: None) -> None:
    schedule = schedules.linear()
    ts = timesteps.leading(schedule, 20)
    scheduler = DDPMScheduler(clip_sample=False, prediction_type="v_prediction")
    scheduler.set_timesteps(20)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.ddpm, schedule, "v", ts), theirs(scheduler, x, at_index(schedule)))


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_euler_and_heun_in_sigma_space(prediction: str) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, STEPS)
    alpha, sigma = schedule(ts[:1])
    options = {"timestep_spacing": "trailing", "prediction_type": OUTPUTS[prediction]}
    for sampler, scheduler in (
        (samplers.euler, EulerDiscreteScheduler(**TABLE, **options)),
        (samplers.heun, HeunDiscreteScheduler(**TABLE, **options)),
    ):
        scheduler.set_timesteps(STEPS)
        x = (sigma / alpha).float() * start()
        close(ours(sampler, schedule, prediction, ts), theirs(scheduler, x, at_index(schedule)))


def test_euler_ancestral_with_the_same_noise(same_noise: None) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, STEPS)
    alpha, sigma = schedule(ts[:1])
    scheduler = EulerAncestralDiscreteScheduler(**TABLE, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    x = (sigma / alpha).float() * start()
    close(ours(samplers.euler_ancestral, schedule, "eps", ts), theirs(scheduler, x, at_index(schedule)))


@pytest.mark.parametrize("steps", [2, 12, 25])
@pytest.mark.parametrize("prediction", OUTPUTS)
def test_dpmpp_2m(prediction: str, steps: int) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, steps)
    options = {"timestep_spacing": "trailing", "prediction_type": OUTPUTS[prediction]}
    scheduler = DPMSolverMultistepScheduler(**TABLE, **options)
    scheduler.set_timesteps(steps)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.dpmpp_2m, schedule, prediction, ts), theirs(scheduler, x, at_index(schedule)))


def test_dpmpp_2m_on_flow() -> None:
    schedule = schedules.flow()
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, lower_order_final=True
    )
    scheduler.set_timesteps(STEPS)
    sigmas = iter(
        scheduler.sigmas.double()
    )  # flow's t is sigma; theirs rounds the timesteps it hands to networks

    def network(x: Tensor, _: Tensor) -> Tensor:
        return Tiny()(x, schedule.log_snr(next(sigmas).expand(len(x))).float(), Cond())

    x = scheduler.sigmas[0] * start()
    close(ours(samplers.dpmpp_2m, schedule, "flow", scheduler.sigmas.double()), theirs(scheduler, x, network))


@pytest.mark.parametrize("steps", [2, 12, 25])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_dpmpp_2m_sde_with_the_same_noise(prediction: str, steps: int) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, steps)
    options = {"timestep_spacing": "trailing", "prediction_type": OUTPUTS[prediction]}
    scheduler = DPMSolverMultistepScheduler(**TABLE, **options, algorithm_type="sde-dpmsolver++")
    scheduler.set_timesteps(steps)
    x, network = schedule(ts[:1]).sigma.float() * start(), at_index(schedule)
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(network(x, t), t, x, variance_noise=step_noise("step", i)).prev_sample
    close(ours(samplers.dpmpp_2m_sde, schedule, prediction, ts), x)


@pytest.mark.parametrize("steps", [1, 2, 3, 12])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", OUTPUTS)
def test_unipc(prediction: str, order: int, steps: int) -> None:
    schedule = schedules.scaled_linear()
    ts = timesteps.trailing(schedule, steps)
    options = {"timestep_spacing": "trailing", "prediction_type": OUTPUTS[prediction]}
    scheduler = UniPCMultistepScheduler(**TABLE, **options, solver_order=order)
    scheduler.set_timesteps(steps)
    x = schedule(ts[:1]).sigma.float() * start()
    close(
        ours(samplers.unipc, schedule, prediction, ts, order=order), theirs(scheduler, x, at_index(schedule))
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_on_flow(order: int) -> None:
    schedule = schedules.flow()
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0, solver_order=order
    )
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas[0] = 0.99  # theirs begins a rounding before alpha = 0, where ours is of first order
    sigmas = iter(scheduler.sigmas.double())

    def network(x: Tensor, _: Tensor) -> Tensor:
        return Tiny()(x, schedule.log_snr(next(sigmas).expand(len(x))).float(), Cond())

    x, ts = scheduler.sigmas[0] * start(), scheduler.sigmas.double()
    close(ours(samplers.unipc, schedule, "flow", ts, order=order), theirs(scheduler, x, network))


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_ipndm(steps: int) -> None:
    """On a grid that ends above sigma = 0: a step there is first order for ours, of the full order for theirs."""
    schedule = schedules.scaled_linear()
    ts = torch.linspace(1, 0.1, steps + 1, dtype=torch.float64)
    scheduler = IPNDMScheduler(trained_betas=schedule(ts).sigma.tolist())  # their name for sigma
    scheduler.set_timesteps(steps)
    times = iter(ts * 1000 - 1)
    at = at_index(schedule)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.ipndm, schedule, "v", ts), theirs(scheduler, x, lambda x, _: at(x, next(times))))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_and_heun_on_flow_from_pure_noise(shift: float) -> None:
    schedule = schedules.flow(shift=shift)
    for sampler, scheduler in (
        (samplers.euler, FlowMatchEulerDiscreteScheduler(shift=shift)),
        (samplers.heun, FlowMatchHeunDiscreteScheduler(shift=shift)),
    ):
        scheduler.set_timesteps(STEPS)

        def network(x: Tensor, t: Tensor) -> Tensor:
            snr = schedules.flow().log_snr((t.double() / 1000).expand(len(x))).clamp(-20, 20)
            return Tiny()(x, snr.float(), Cond())

        sigmas = scheduler.sigmas.double()
        falling = torch.cat(
            [sigmas[:1], sigmas[1:][sigmas[1:] < sigmas[:-1]]]
        )  # Heun's repeats each inner sigma
        assert len(falling) == STEPS + 1
        assert falling[0] == 1
        ts = schedule.inverse(2 * torch.log((1 - falling) / falling))
        ts[0], ts[-1] = 1, 0
        close(ours(sampler, schedule, "flow", ts), theirs(scheduler, start(), network, False))


def test_edm_euler_and_dpmpp_2m() -> None:
    schedule = schedules.edm()
    ts = timesteps.karras(schedule, STEPS)
    for sampler, scheduler in (
        (samplers.euler, EDMEulerScheduler()),
        (samplers.dpmpp_2m, EDMDPMSolverMultistepScheduler()),
    ):
        scheduler.set_timesteps(STEPS)

        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            # Theirs is log(sigma)/4, which the network of ours wants as the log-SNR.
            return Tiny()(x, (-8 * c_noise).float().reshape(1).expand(len(x)), Cond())

        x = scheduler.sigmas[0] * start()
        close(ours(sampler, schedule, "edm", ts), theirs(scheduler, x, network))


def test_a_published_table_of_indices() -> None:
    """Align Your Steps for Stable Diffusion 1.5, as diffusers has it, given to ours as a list of numbers."""
    indices = AysSchedules["StableDiffusionTimesteps"]
    schedule = schedules.scaled_linear()
    ts = timesteps.listed(schedule, len(indices), values=tuple(indices), of="index")
    scheduler = DPMSolverMultistepScheduler(**TABLE, prediction_type="v_prediction")
    scheduler.set_timesteps(timesteps=indices)
    x = schedule(ts[:1]).sigma.float() * start()
    close(ours(samplers.dpmpp_2m, schedule, "v", ts), theirs(scheduler, x, at_index(schedule)))


K_NAMES = {"euler": "sample_euler", "heun": "sample_heun", "dpmpp_2m": "sample_dpmpp_2m"}


# Those that draw noise at every step, and how theirs is told which.
NOISY = {"euler_ancestral": "sample_euler_ancestral", "dpmpp_2m_sde": "sample_dpmpp_2m_sde"}


@pytest.mark.parametrize("name", [*K_NAMES, *NOISY])
def test_k_diffusion_on_edm(name: str) -> None:
    k = k_sampling()
    schedule = schedules.edm(sigma_min=0.02, sigma_max=40.0)
    denoiser = Denoiser(Tiny(), schedule, predictions.edm())

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        t = schedule.inverse(-2 * torch.log(sigma.double()))
        return denoiser(x, t, Cond())

    sigmas = k.get_sigmas_karras(STEPS, 0.02, 40.0)
    drawn = iter(range(1000))
    if name in NOISY:
        extra: dict[str, Any] = {"noise_sampler": lambda sigma, sigma_next: step_noise("step", next(drawn))}
    else:
        extra = {}
    function = getattr(k, {**K_NAMES, **NOISY}[name])
    foreign = function(model, sigmas[0] * start(), sigmas, disable=True, **extra)
    close(ours(getattr(samplers, name), schedule, "edm", timesteps.karras(schedule, STEPS)), foreign)


@pytest.mark.parametrize("name", K_NAMES)
def test_k_diffusion_on_a_vp_table(name: str) -> None:
    """k-diffusion runs in y = x/alpha: the same trajectory as ours in x, for any schedule."""
    k = k_sampling()
    schedule, ts, model, ratios = vp_in_k_diffusion()
    foreign = getattr(k, K_NAMES[name])(model, ratios[0] * start(), ratios, disable=True)
    close(ours(getattr(samplers, name), schedule, "v", ts), foreign)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.5])
def test_k_diffusion_dpmpp_2m_sde_on_a_vp_table(eta: float) -> None:
    k = k_sampling()
    schedule, ts, model, ratios = vp_in_k_diffusion()
    drawn = iter(range(1000))
    foreign = k.sample_dpmpp_2m_sde(
        model,
        ratios[0] * start(),
        ratios,
        disable=True,
        eta=eta,
        noise_sampler=lambda sigma, sigma_next: step_noise("step", next(drawn)),
    )
    close(ours(samplers.dpmpp_2m_sde, schedule, "v", ts, eta=eta), foreign)


@pytest.mark.parametrize(("churn", "low", "high", "noise"), [(5.0, 0.05, 8.0, 1.003), (40.0, 0.0, 10.0, 1.0)])
@pytest.mark.parametrize("kind", ["edm", "vp"])
def test_k_diffusion_churn(
    kind: str, churn: float, low: float, high: float, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    k = k_sampling()
    if kind == "vp":
        schedule, ts, model, ratios = vp_in_k_diffusion()
        prediction = "v"
    else:
        schedule, prediction = schedules.edm(sigma_min=0.02, sigma_max=40.0), "edm"
        denoiser = Denoiser(Tiny(), schedule, predictions.edm())
        ts, ratios = timesteps.karras(schedule, STEPS), k.get_sigmas_karras(STEPS, 0.02, 40.0)

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            return denoiser(x, schedule.inverse(-2 * torch.log(sigma.double())), Cond())

    drawn = iter(range(1000))
    monkeypatch.setattr(k.torch, "randn_like", lambda x: step_noise("churn", next(drawn)))
    foreign = k.sample_heun(
        model,
        ratios[0] * start(),
        ratios,
        disable=True,
        s_churn=churn,
        s_tmin=low,
        s_tmax=high,
        s_noise=noise,
    )
    options = {"churn": churn, "churn_low": low, "churn_high": high, "churn_noise": noise}
    close(ours(samplers.edm, schedule, prediction, ts, **options), foreign)


def vp_in_k_diffusion() -> tuple[Schedule, Tensor, Callable[[Tensor, Tensor], Tensor], Tensor]:
    """A VP schedule, a grid, and both as k-diffusion sees them: y, sigma/alpha -> x0, and sigma/alpha of the grid."""
    schedule = schedules.linear()
    denoiser = Denoiser(Tiny(), schedule, predictions.v())
    ts = timesteps.karras(schedule, STEPS)
    alpha, sigma = schedule(ts)

    def model(y: Tensor, ratio: Tensor) -> Tensor:
        t = schedule.inverse(-2 * torch.log(ratio.double()))
        return denoiser(y * schedule(t).alpha.float()[:, None, None, None], t, Cond())

    return schedule, ts, model, (sigma / alpha).float()


def test_k_diffusion_adaptive_finds_the_same_sample() -> None:
    """Another formula and another control of steps (theirs over all rows at once): near for small errors only."""
    k = k_sampling()
    schedule = schedules.edm(sigma_min=0.02, sigma_max=40.0)
    denoiser = Denoiser(Tiny(), schedule, predictions.edm())

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x, schedule.inverse(-2 * torch.log(sigma.double())), Cond())

    x = 40.0 * start()[:1].double()
    foreign = k.sample_dpm_adaptive(model, x, 0.02, 40.0, disable=True, rtol=1e-6, atol=1e-6)
    ts = schedule.inverse(-2 * torch.log(torch.tensor([40.0, 0.02], dtype=torch.float64)))
    trajectory = samplers.adaptive(schedule, x, ts, step_noise, tolerance=1e-6, budget=2000)
    close(solve(trajectory, plain(Cond(), Cond()), denoiser), foreign)
