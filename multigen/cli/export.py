"""`multigen export`: a trained model as one file."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import SOURCE, Command, Parser, new_parser, path, positive, show_log


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("export", "Write a trained model, with its recipe, to one safetensors file.")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument("file", type=path, metavar="FILE", help="a new .safetensors file")
    parser.add_argument("--half", action="store_true", help="store weights as float16, half the size")
    parser.add_argument(
        "--merge", action="store_true", help="for the run of a LoRA: write base and LoRA as one model"
    )
    parser.add_argument(
        "--ema",
        type=positive,
        metavar="SIGMA",
        help="average the weights over another length (sigma_rel), from a run's snapshots",
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.runs.checks import check_new_file, check_source

    check_source(a.source)
    check_new_file(a.file)
    from multigen.model.load import export

    show_log(quiet=False)
    print(export(a.source, a.file, half=a.half, merge=a.merge, ema=a.ema))
    return 0


COMMAND = Command("export", "SOURCE FILE", "write a trained model to one safetensors file", parser, run)
