"""Completion scripts for bash, zsh and fish, from the words of each command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template


@dataclass(frozen=True)
class Flag:
    """An option: its names, and what its value may be."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    files: bool
    help: str


@dataclass(frozen=True)
class Positional:
    """A positional argument: words, files, or override keys."""

    choices: tuple[str, ...]
    files: bool
    keys: bool


@dataclass(frozen=True)
class Words:
    """What a command takes."""

    summary: str
    flags: tuple[Flag, ...]
    positionals: tuple[Positional, ...]

    @property
    def names(self) -> list[str]:
        """Every name of every option."""
        return [name for flag in self.flags for name in flag.names]

    @property
    def keys(self) -> bool:
        """Whether it takes overrides."""
        return any(p.keys for p in self.positionals)

    def positional(self, number: int) -> Positional:
        """The positional argument with that number; the last one may be repeated."""
        if not self.positionals:
            return Positional((), False, False)
        return self.positionals[min(number, len(self.positionals) - 1)]


Script = Callable[[Mapping[str, Words], Sequence[str]], str]


def bash(commands: Mapping[str, Words], keys: Sequence[str]) -> str:
    """The script for bash. The second word is the first positional argument; those after it are the next."""
    return Template(_BASH).substitute(
        commands=" ".join(commands),
        keys=" ".join(keys),
        values="\n".join(_cases(commands, _bash_value)),
        first="\n".join(_bash_words(name, words, 0) for name, words in commands.items()),
        rest="\n".join(_bash_words(name, words, 1) for name, words in commands.items()),
    )


def _cases(commands: Mapping[str, Words], body: Callable[[Flag], str]) -> Iterable[str]:
    """A case for each option that takes a value, by the command and the word before."""
    for command, words in commands.items():
        for flag in words.flags:
            if flag.takes_value:
                patterns = "|".join(f'"{command} {name}"' for name in flag.names)
                yield f"        {patterns}) {body(flag)} ;;"


def _bash_value(flag: Flag) -> str:
    return "files=1" if flag.files else f"list={shlex.quote(' '.join(flag.choices))}"


def _bash_words(command: str, words: Words, number: int) -> str:
    place = words.positional(number)
    listed = shlex.quote(" ".join([*place.choices, *words.names]))
    keys = '"$keys "' if place.keys else ""
    return f"            {command}) list={keys}{listed}{'; files=1' if place.files else ''} ;;"


def zsh(commands: Mapping[str, Words], keys: Sequence[str]) -> str:
    """The script for zsh."""
    return Template(_ZSH).substitute(
        commands=_quoted(commands),
        keys=_quoted(keys),
        values="\n".join(_cases(commands, _zsh_value)),
        first="\n".join(_zsh_words(name, words, 0) for name, words in commands.items()),
        rest="\n".join(_zsh_words(name, words, 1) for name, words in commands.items()),
    )


def _zsh_value(flag: Flag) -> str:
    add = "_files" if flag.files else f"compadd -- {_quoted(flag.choices)}" if flag.choices else ":"
    return f"{add}; return"


def _zsh_words(command: str, words: Words, number: int) -> str:
    place = words.positional(number)
    keys = "compadd -S '' -a keys; " if place.keys else ""
    files = "; _files" if place.files else ""
    return f"            {command}) {keys}compadd -- {_quoted([*place.choices, *words.names])}{files} ;;"


def _quoted(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def fish(commands: Mapping[str, Words], keys: Sequence[str]) -> str:
    """The script for fish, which shows the help of each option."""
    lines = [
        f"complete -c multigen -n __fish_use_subcommand -a {name} -d {shlex.quote(words.summary)}"
        for name, words in commands.items()
    ]
    with_keys = " ".join(name for name, words in commands.items() if words.keys)
    for name, words in commands.items():
        here = f"complete -c multigen -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{here} {_fish_flag(flag)}" for flag in words.flags]
        listed = [choice for place in words.positionals for choice in place.choices]
        lines += [f"{here} -a {shlex.quote(' '.join(listed))}"] if listed else []
        lines += [f"{here} -F"] if any(place.files for place in words.positionals) else []
    return Template(_FISH).substitute(lines="\n".join(lines), with_keys=with_keys, keys=" ".join(keys))


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = ""
    if flag.takes_value:
        value = " -r" + (" -F" if flag.files else f" -f -a {shlex.quote(' '.join(flag.choices))}")
    return f"{names}{value} -d {shlex.quote(flag.help)}"


_BASH = """\
# multigen completion for bash: eval "$$(multigen completion bash)"
_multigen() {
    local line="$${COMP_LINE:0:COMP_POINT}" words cur
    read -r -a words <<< "$$line"
    cur="$${line##*[[:space:]]}"
    local place=$$(( $${#words[@]} - ( $${#cur} > 0 ? 1 : 0 ) ))
    local keys='$keys'
    local list="" files=""
    COMPREPLY=()
    if (( place <= 1 )); then
        list='$commands'
    else case "$${words[1]} $${words[place-1]}" in
$values
        *) if (( place == 2 )); then case "$${words[1]}" in
$first
        esac else case "$${words[1]}" in
$rest
        esac fi ;;
    esac fi
    [[ -n "$$files" ]] && COMPREPLY=( $$(compgen -f -- "$$cur") )
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
    local -a keys
    keys=($keys)
    if (( CURRENT == 2 )); then
        compadd -- $commands
        return
    fi
    case "$$words[2] $$words[CURRENT-1]" in
$values
    esac
    if (( CURRENT == 3 )); then
        case $$words[2] in
$first
        esac
    else
        case $$words[2] in
$rest
        esac
    fi
}
compdef _multigen multigen
"""

_FISH = """\
# multigen completion for fish: multigen completion fish | source
complete -c multigen -f
$lines
complete -c multigen -n '__fish_seen_subcommand_from $with_keys' -a '$keys'
"""

SHELLS: Mapping[str, Script] = {"bash": bash, "zsh": zsh, "fish": fish}
