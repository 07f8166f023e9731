"""The script for Slurm: a shell reads it, a linter accepts it where there is one, and it says how it is used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs/slurm/train.sh"


def test_the_script_is_sound() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    if (linter := shutil.which("shellcheck")) is not None:
        done = subprocess.run([linter, str(SCRIPT)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_without_a_folder_it_says_how_it_is_used() -> None:
    done = subprocess.run(["bash", str(SCRIPT), "image_emoji"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "sbatch train.sh RECIPE OUT" in done.stderr


def test_what_it_runs_is_a_command_line_of_ours(tmp_path: Path) -> None:
    """The variables that Slurm sets, and its commands in place of which echoes stand."""
    for name in ("srun", "scontrol"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" = show ] && echo node1 || echo "$@"\n')
        (tmp_path / name).chmod(0o755)
    slurm = {"JOB_NODELIST": "node[1-2]", "JOB_ID": "123456", "CPUS_PER_TASK": "32", "GPUS_ON_NODE": "4"}
    environment = {f"SLURM_{k}": v for k, v in {**slurm, "JOB_NUM_NODES": "2"}.items()}
    words = ["bash", str(SCRIPT), "image_emoji", "/shared/out", "launch.fsdp=true"]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        words, env={**environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--rdzv-endpoint=node1:23456" in done.stdout and "--nproc-per-node=4" in done.stdout
    assert done.stdout.strip().endswith(
        "-m multigen train image_emoji --out /shared/out --quiet launch.fsdp=true"
    )
