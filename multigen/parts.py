"""Every built-in part: kind -> name -> where its code is. Nothing is imported until it is asked for."""

BUILTIN: dict[str, dict[str, str]] = {
    "backbone": {"unet": "multigen.backbones.unet:UNet"},
    "schedule": {
        "cosine": "multigen.core.schedules:cosine",
        "discrete": "multigen.core.schedules:discrete",
        "edm": "multigen.core.schedules:edm",
        "flow": "multigen.core.schedules:flow",
        "linear": "multigen.core.schedules:linear",
        "scaled_linear": "multigen.core.schedules:scaled_linear",
        "sigmoid": "multigen.core.schedules:sigmoid",
    },
    "prediction": {
        "edm": "multigen.core.predictions:edm",
        "eps": "multigen.core.predictions:eps",
        "flow": "multigen.core.predictions:flow",
        "v": "multigen.core.predictions:v",
        "x0": "multigen.core.predictions:x0",
    },
    "timesteps": {
        "exponential": "multigen.core.timesteps:exponential",
        "karras": "multigen.core.timesteps:karras",
        "leading": "multigen.core.timesteps:leading",
        "log_snr": "multigen.core.timesteps:log_snr",
        "trailing": "multigen.core.timesteps:trailing",
        "uniform": "multigen.core.timesteps:uniform",
    },
    "sampler": {
        "ddim": "multigen.core.samplers:ddim",
        "ddpm": "multigen.core.samplers:ddpm",
        "dpmpp_2m": "multigen.core.samplers:dpmpp_2m",
        "euler": "multigen.core.samplers:euler",
        "euler_ancestral": "multigen.core.samplers:euler_ancestral",
        "heun": "multigen.core.samplers:heun",
    },
    "guide": {"cfg": "multigen.core.guides:cfg", "plain": "multigen.core.guides:plain"},
    "conditioner": {
        "label": "multigen.conditioners.label:Label",
        "none": "multigen.conditioners.label:Nothing",
        "text": "multigen.conditioners.text:Text",
    },
    "codec": {"mel": "multigen.codecs.mel:Mel", "pixels": "multigen.codecs.pixels:Pixels"},
    "modality": {
        "audio": "multigen.modalities.audio:Audio",
        "image": "multigen.modalities.image:Image",
        "video": "multigen.modalities.video:Video",
    },
    "dataset": {
        "celeba": "multigen.datasets.standard:CelebA",
        "chorales": "multigen.datasets.chorales:Chorales",
        "cifar10": "multigen.datasets.standard:CIFAR10",
        "digits": "multigen.datasets.digits:Digits",
        "emoji": "multigen.datasets.emoji:Emoji",
        "folder": "multigen.datasets.folder:Folder",
        "mnist": "multigen.datasets.standard:MNIST",
        "moving_emoji": "multigen.datasets.moving_emoji:MovingEmoji",
    },
    "noise_level": {
        "log_normal": "multigen.training.objectives:log_normal",
        "logit_normal": "multigen.training.objectives:logit_normal",
        "uniform": "multigen.training.objectives:uniform",
    },
    "objective": {
        "edm": "multigen.training.objectives:edm",
        "flat": "multigen.training.objectives:flat",
        "min_snr": "multigen.training.objectives:min_snr",
    },
}
