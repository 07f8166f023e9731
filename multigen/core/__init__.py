"""The core: the arithmetic of diffusion. It knows nothing of media, files or prompts; it imports torch alone.

Data x0 turn into noise as the time t goes from 0 to 1 (`schedules`):

    x_t = alpha(t) x0 + sigma(t) eps,    eps ~ N(0, I)

A network F, preconditioned (`predictions`), estimates x0 from x_t (`denoiser`):

    D(x_t, t, cond) = c_skip x_t + c_out F(c_in x_t, c_noise, cond)    ~    E[x0 | x_t, cond]

A sampler walks a grid of times from noise to data (`timesteps`, `samplers`). It yields queries (x_t, t) and receives
x0. A guide turns one query into network calls (`guides`, `modifiers`), and the driver answers the calls of many
requests in few batches (`drive`):

    denoiser = Denoiser(backbone, schedules.cosine(), predictions.v())
    noise, ts = Noise([0], (3, 32, 32)), timesteps.uniform(denoiser.schedule, 24)
    x = solve(samplers.heun(denoiser.schedule, noise("start"), ts, noise), plain(cond, null), denoiser)

Letters of shapes, here and in all rooms above:

    B      samples of a batch
    C      channels
    *D     the axes of a sample: T (audio), H, W (image) or T, H, W (video)
    T      frames of a spectrogram or a video; H, W height and width
    N      samples of a waveform
    L, K   tokens of a sequence, and the width (features) of a vector, token or grid
    n      steps of a grid of times, which has n + 1 points

A number of no shape, such as a query's t, is written as 0-d.
"""

from multigen.core.backbone import Backbone, Maps, Taps
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.denoiser import Denoiser
from multigen.core.drive import Driver, drive, solve
from multigen.core.guides import Call, Guide, Query, cfg, plain
from multigen.core.modifiers import fill
from multigen.core.noise import Noise, stream
from multigen.core.sampling import Progress, Sampling
from multigen.core.schedules import AlphaSigma, Schedule

__all__ = [
    "AlphaSigma",
    "Backbone",
    "Call",
    "Cond",
    "CondSpec",
    "Denoiser",
    "Driver",
    "Guide",
    "Maps",
    "Noise",
    "Progress",
    "Query",
    "Sampling",
    "Schedule",
    "Taps",
    "cfg",
    "drive",
    "fill",
    "plain",
    "solve",
    "stream",
]
