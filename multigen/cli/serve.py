"""`multigen serve`: models over HTTP, and the keys of those who may use them."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, count, device, new_parser, path, place, positive, whole
from multigen.cli.serve_keys import add_key_options, check_no_key_options, run_keys
from multigen.errors import MultigenError

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "psutil")
DESCRIPTION = """\
Serve models over HTTP, for the web page at / and for clients of OpenAI's API.

  multigen serve image_emoji audio_music
  multigen serve mine=runs/image_folder sd=/models/stable-diffusion --port 9000
  multigen serve image_emoji --host 0.0.0.0 --keys keys.json

Beyond this machine it asks for keys. One is printed once, when it is made; the file holds its hash, and a running
server sees a change within a second.

  multigen serve keys add keys.json ana --requests-per-minute 60
  multigen serve keys add keys.json prometheus --scope metrics
  multigen serve keys list keys.json
  multigen serve keys revoke keys.json ana
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("serve", DESCRIPTION)
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="what `multigen sample` takes, or id=path: clients see the id",
    )
    _where(parser)
    _how_much(parser)
    parser.add_argument(
        "--store",
        type=place,
        metavar="PLACE",
        help="folder of results, or a bucket: s3://... (default: in the cache)",
    )
    parser.add_argument(
        "--shared",
        action="store_true",
        help="other servers use the store, too: each knows of all jobs and goes on with what another left",
    )
    parser.add_argument(
        "--ttl", type=positive, default=24.0, metavar="HOURS", help="results are kept so long (default: 24)"
    )
    parser.add_argument(
        "--store-size", type=positive, default=4.0, metavar="GB", help="most of all results (default: 4)"
    )
    parser.add_argument("--loras", type=path, metavar="DIR", help="folder of LoRAs that clients may name")
    parser.add_argument(
        "--device", type=device, metavar="DEVICE", help="cpu, cuda, cuda:1, mps (default: the best available)"
    )
    parser.add_argument(
        "--ray",
        action="store_true",
        help="on Ray Serve: each model in replicas of its own, on the cluster of $RAY_ADDRESS or on this machine",
    )
    parser.add_argument(
        "--replicas", metavar="N|N-M", help="with --ray: of each model; a range follows the load (default: 1)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    _about_content(parser)
    add_key_options(parser)
    return parser


def _where(parser: Parser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="0: a free one (default: 8000)")
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="what a proxy puts in front of the paths"
    )
    parser.add_argument("--keys", type=path, metavar="FILE", help="let in only who has a key of this file")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="answer to this name, too, such as that of a proxy; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--drain",
        type=seconds,
        default=30.0,
        metavar="S",
        help="s that running requests have to end after SIGTERM (default: 30)",
    )


def _about_content(parser: Parser) -> None:
    parser.add_argument(
        "--safety",
        choices=("auto", "on", "off"),
        default="auto",
        help="filters of prompts and media, beside those of recipes; auto: where others reach the server (default)",
    )
    parser.add_argument("--log-prompts", action="store_true", help="keep prompts in the log")
    parser.add_argument(
        "--otlp",
        metavar="ADDRESS",
        help="send traces to this collector of OpenTelemetry, such as http://localhost:4318",
    )


def _how_much(parser: Parser) -> None:
    parser.add_argument(
        "--max-batch", type=count, default=16, metavar="N", help="most media in a network call (default: 16)"
    )
    parser.add_argument(
        "--max-queue", type=count, default=256, metavar="N", help="most media that wait (default: 256)"
    )
    parser.add_argument(
        "--max-pixels",
        type=count,
        default=1 << 22,
        metavar="N",
        help="of a picture, or of all frames of a clip, that is uploaded (default: 4194304)",
    )
    parser.add_argument(
        "--memory",
        type=positive,
        metavar="GB",
        help="for network calls (default: 70%% of what weights leave)",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        metavar="GB",
        help="of weights in memory; the least recently used model goes (default: half of what is free)",
    )


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    if a.source[0] == "keys":
        return run_keys(a.source[1:], a)
    check_no_key_options(a)
    check_packages()
    _check_ray(a)
    from multigen.runs.checks import check_source
    from multigen.serving.safety import check_filters, unfiltered
    from multigen.serving.sources import check_reach, named

    check_reach(a.host, a.keys)
    recipes = [check_source(source) for source in named(a.source).values()]
    made = [recipe.makes for recipe in recipes if recipe is not None]
    check_filters(made, a.host, a.allow_host, a.safety)
    if said := unfiltered(a.host, a.allow_host, a.safety):
        print(f"multigen: warning: {said}", file=sys.stderr)
    from multigen.serving.run import Options, serve

    options = Options(
        host=a.host, port=a.port, root_path=a.root_path, keys=a.keys, allow_hosts=a.allow_host,
        max_batch=a.max_batch, max_queue=a.max_queue, max_pixels=a.max_pixels, memory=a.memory, budget=a.budget,
        store=a.store, shared=a.shared, ttl=a.ttl, store_size=a.store_size, loras=a.loras, device=a.device,
        drain=a.drain, safety=a.safety, log_prompts=a.log_prompts, otlp=a.otlp,
    )  # fmt: skip
    if a.ray:
        from multigen.serving.cluster.run import serve_on_ray
        from multigen.serving.cluster.scaling import Replicas

        serve_on_ray(a.source, options, replicas=Replicas.of(a.replicas or "1"))
    else:
        serve(a.source, options, open_page=a.open)
    return 0


def _check_ray(a: argparse.Namespace) -> None:
    """MultigenError for what does not go with --ray, or without it, and where Ray is missing."""
    if a.replicas and not a.ray:
        raise MultigenError("--replicas goes with --ray")
    if not a.ray:
        return
    from multigen.serving.cluster.scaling import Replicas
    from multigen.storage.packages import check_installed

    if a.open:
        raise MultigenError("--open does not go with --ray")
    Replicas.of(a.replicas or "1")
    check_installed("ray", "multigen serve --ray", "ray")


def check_packages() -> None:
    """MultigenError if a package that serving needs is missing."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        from multigen.storage.packages import install

        raise MultigenError(f"multigen serve needs the package {absent[0]}: {install('serve')}")


def port(text: str) -> int:
    """A port, or 0."""
    value = whole(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give 0 to 65535")
    return value


def seconds(text: str) -> float:
    """Seconds, 0 or more."""
    return 0.0 if text == "0" else positive(text)


COMMAND = Command("serve", "SOURCE ... | keys", "serve models over HTTP, with a web page", parser, run)
