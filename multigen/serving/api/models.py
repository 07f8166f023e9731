"""/v1/models: what is served, and what each model takes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from multigen import registry
from multigen.generation.declared import options_of
from multigen.modalities import Modality
from multigen.modalities.pace import per_second
from multigen.options import Option
from multigen.provenance.known import TYPES
from multigen.recipe.paths import shipped_weights
from multigen.recipe.schema import Recipe
from multigen.serving.api.document import answers
from multigen.serving.api.errors import no_model
from multigen.serving.api.shapes import Model, Models
from multigen.serving.api.state import Limits, TheServer
from multigen.serving.engine.models import Served

router = APIRouter()


@router.get("/v1/models", response_model=None, responses=answers(Models, "the models"))
async def models(server: TheServer) -> dict[str, Any]:
    """All models."""
    rows = [_row(one, server.limits) for one in server.models.served.values()]
    return {"object": "list", "data": rows}


@router.get("/v1/models/{name:path}", response_model=None, responses=answers(Model, "the model"))
async def model(name: str, server: TheServer) -> dict[str, Any]:
    """One model."""
    if name not in server.models.served:
        raise no_model(name, server.models.served)
    return _row(server.models.served[name], server.limits)


def _row(one: Served, limits: Limits) -> dict[str, Any]:
    """A model as OpenAI's client reads it, and what multigen says beside that."""
    recipe = one.recipe
    modality = registry.build("modality", recipe.modality, where="modality")
    return {
        "id": one.id,
        "object": "model",
        "created": one.created,
        "owned_by": "multigen",
        # Its name wherever multigen is installed; what else a server offers lies where only it knows.
        "shipped": one.source if one.source in shipped_weights() else None,
        "description": recipe.description,
        "modality": recipe.modality.name,
        "natural": modality.describe(modality.shape()),
        "shape": list(modality.shape(recipe.sample.size, recipe.sample.duration)),
        "size_multiple": one.size_multiple,
        "limits": {
            "n": limits.n,
            "steps": limits.steps,
            "prompt": limits.prompt,
            "upload": limits.upload,
            # Bytes of all files of a request together that are sent as base64 within JSON.
            "inline": min(limits.upload, (limits.json - (64 << 10)) * 3 // 4),
        },
        # How long its own media are, and in which unit: quarters for notes, else seconds; null where they have no time.
        "duration": _duration(recipe, modality),
        "time_unit": modality.time_unit,
        "rate": getattr(modality, "rate", None),
        "fps": getattr(modality, "fps", None),
        "steps": recipe.sample.steps,
        # Steps of its student; null where it has none.
        "fast": one.fast,
        "guidance_scale": recipe.guide.args.get("scale"),
        "sampler": recipe.sampler.name,
        "samplers": registry.names("sampler"),
        "guides": registry.names("guide"),
        "conditioner": recipe.conditioner.name,
        # What pictures lead, in the order of a request's `images`; whether each has one of its own.
        "adapters": [
            {"name": one.name, "image": one.image is not None} for one in recipe.adapters if one.leads
        ],
        "prompts": [prompt for prompt in recipe.sample.prompts if prompt],
        # Of the files that it makes where a command says none.
        "format": (recipe.sample.suffix or modality.suffix).removeprefix("."),
        "formats": [suffix.removeprefix(".") for suffix in _formats(recipe, modality)],
        "options": [_option(o) for o in options_of(recipe)],
    }


def _option(o: Option) -> dict[str, Any]:
    """What a request may say beside what every request may.

    media  the modality of a file that is sent as base64; "" where it is none
    needs  the option that it goes with; "" where it stands alone
    """
    return {
        "name": o.name, "help": o.help, "low": _finite(o.low), "high": _finite(o.high), "choices": list(o.choices),
        "text": o.type is str, "media": o.media, "needs": o.needs,
    }  # fmt: skip


def _duration(recipe: Recipe, modality: Modality) -> float | None:
    pace = per_second(modality)
    shape = modality.shape(recipe.sample.size, recipe.sample.duration)
    return round(shape[1] / pace, 3) if pace else None


def _formats(recipe: Recipe, modality: Modality) -> list[str]:
    """Suffixes of what a model's media are sent as: where they have to be signed, of formats that can be."""
    return [suffix for suffix in modality.writes if recipe.provenance.sign != "on" or suffix in TYPES]


def _finite(value: float) -> float | None:
    return value if abs(value) < 1e300 else None
