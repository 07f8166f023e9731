"""Completion scripts for bash, zsh and fish: commands, recipe names, options, override keys and part names.

The words are written into the script when it is made, so that completing costs nothing; make it anew after installing
plug-ins: `eval "$(multigen completion bash)"`.
"""

from __future__ import annotations

import dataclasses
from string import Template

from multigen import registry
from multigen.cli.main import COMMANDS
from multigen.errors import MultigenError
from multigen.recipe.places import PLACES
from multigen.recipe.schema import Evaluate, PostHoc, Recipe, Sample, Train
from multigen.recipe.source import shipped
from multigen.registry import KINDS

OPTIONS = (
    "--out", "--device", "--seed", "--quiet", "--debug", "--help", "--force", "--cfg", "--multirun",
    "--prompt", "--prompts", "--steps", "--size", "--duration", "--media", "--convert", "--half", "--ema",
    "--modality", "--shard-size",
)  # fmt: skip


def override_keys() -> list[str]:
    """Every `key=` that a recipe takes, and `place.name=part` for every registered part."""
    sections = (
        ("", Recipe), ("train.", Train), ("train.post_hoc.", PostHoc), ("sample.", Sample), ("evaluate.", Evaluate),
    )  # fmt: skip
    plain = [f"{prefix}{f.name}" for prefix, cls in sections for f in dataclasses.fields(cls)]
    keys = [
        f"{key}=" for key in plain if key not in (*PLACES, "train", "train.post_hoc", "sample", "evaluate")
    ]
    for place, kind in PLACES.items():
        keys += [f"{place}.name={name}" for name in registry.names(kind)]
        keys += sorted({f"{place}.{argument}=" for argument in _arguments(kind)})
    return keys


def _arguments(kind: str) -> list[str]:
    found: list[str] = []
    for name in registry.names(kind):
        try:
            found += [a.name for a in registry.arguments(kind, name)]
        except MultigenError:  # a part whose packages are not here offers no arguments
            continue
    return found


def script(shell: str) -> str:
    """The script for `shell`: bash, zsh or fish."""
    words = {
        "commands": " ".join(COMMANDS),
        "recipes": " ".join(shipped()),
        "kinds": " ".join(KINDS),
        "options": " ".join(OPTIONS),
        "keys": " ".join(override_keys()),
    }
    return Template(_SCRIPTS[shell]).substitute(words)


_BASH = """\
# multigen completion for bash: eval "$$(multigen completion bash)"
_multigen() {
    local line="$${COMP_LINE:0:COMP_POINT}" words cur
    read -r -a words <<< "$$line"
    cur="$${line##*[[:space:]]}"
    local place=$$(( $${#words[@]} - ( $${#cur} > 0 ? 1 : 0 ) ))
    local list="$keys $options"
    COMPREPLY=()
    if (( place <= 1 )); then
        list="$commands"
    elif (( place == 2 )); then
        case "$${words[1]}" in
            run|train|sample|evaluate|export) list="$recipes $options"; COMPREPLY=( $$(compgen -f -- "$$cur") ) ;;
            parts) list="$kinds" ;;
            completion) list="bash zsh fish" ;;
            *) list="" ;;
        esac
    fi
    COMPREPLY+=( $$(compgen -W "$$list" -- "$$cur") )
    # readline cuts words at '=': give back only what follows the last one.
    if [[ "$$cur" == *=* && "$$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=( "$${COMPREPLY[@]#"$${cur%=*}="}" )
    fi
    if [[ $${#COMPREPLY[@]} -eq 1 && "$${COMPREPLY[0]}" == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _multigen multigen
"""

_ZSH = """\
#compdef multigen
# multigen completion for zsh: eval "$$(multigen completion zsh)"
_multigen() {
    local -a commands recipes kinds options keys
    commands=($commands) recipes=($recipes) kinds=($kinds)
    options=($options)
    keys=($keys)
    if (( CURRENT == 2 )); then
        compadd -a commands
    elif (( CURRENT == 3 )); then
        case $$words[2] in
            run|train|sample) compadd -a recipes; compadd -a options; _files ;;
            parts) compadd -a kinds ;;
            completion) compadd bash zsh fish ;;
        esac
    else
        compadd -S '' -a keys
        compadd -a options
    fi
}
compdef _multigen multigen
"""

_FISH = """\
# multigen completion for fish: multigen completion fish | source
complete -c multigen -f
complete -c multigen -n '__fish_use_subcommand' -a '$commands'
set -l works '__fish_seen_subcommand_from run train sample evaluate export'
complete -c multigen -n $$works -F
complete -c multigen -n $$works -a '$recipes'
complete -c multigen -n $$works -a '$keys'
complete -c multigen -n $$works -a '$options'
complete -c multigen -n '__fish_seen_subcommand_from parts' -a '$kinds'
complete -c multigen -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
