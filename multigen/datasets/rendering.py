"""Rendering of scores to sound by midirenderer, in worker processes that `render_all` feeds.

Run as a module, this file is such a worker. Workers are started as commands of their own, neither forked nor spawned:
torch's threads do not survive a fork, and spawn would run an unguarded script of the user's a second time.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from multigen.datasets import scores
from multigen.errors import MultigenError
from multigen.modalities.general_midi import midi_file
from multigen.storage import files

_LEVEL = 0.1  # RMS of a whole piece: -20 dB of full scale
_PEAK = 0.95


@dataclass(frozen=True)
class Render:
    """One piece played one way.

    path       FLAC file to write
    program    General MIDI, 0 to 127
    transpose  semitones
    bpm        quarters per minute
    """

    path: str
    program: int
    transpose: int
    bpm: int


@dataclass(frozen=True)
class Job:
    """One piece and all its renders.

    score      file that music21 reads
    notes      JSON file that caches the parsed score
    soundfont  SF2 file, which may be compressed as .xz
    rate       Hz
    channels   1 or 2
    """

    score: str
    notes: str
    soundfont: str
    rate: int
    channels: int
    renders: tuple[Render, ...]


def play(score: scores.Score, render: Render, soundfont: bytes, rate: int, channels: int) -> float:
    """Write the render as 16-bit FLAC at -20 dB RMS and return its length in s."""
    import av
    import numpy as np
    import soundfile
    from av.audio.frame import AudioFrame
    from midirenderer import render_wave_from

    parts = [[(on, length, pitch + render.transpose) for on, length, pitch in part] for part in score.parts]
    wave = render_wave_from(soundfont, midi_file(parts, render.program, render.bpm, scores.TAIL))
    played, source = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    sides = played.T if channels == 2 else played.mean(1)[None]
    layout = "stereo" if channels == 2 else "mono"
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sides, dtype=np.float32), "fltp", layout)
    frame.sample_rate = source
    resampler = av.AudioResampler("fltp", layout, rate)
    sound = np.concatenate(
        [f.to_ndarray() for f in (*resampler.resample(frame), *resampler.resample(None))], 1
    )
    gain = min(
        _LEVEL / max(float(np.sqrt(np.square(sound).mean())), 1e-9),
        _PEAK / max(float(np.abs(sound).max()), 1e-9),
    )
    with files.atomic(Path(render.path)) as temporary:
        soundfile.write(temporary, (sound * gain).T, rate, format="FLAC", subtype="PCM_16")
    return sound.shape[1] / rate


def run_job(job: Job) -> list[float]:
    """Render what is missing of a piece and return the length of each render in s.

    Empty for a piece that does not have four voices.
    """
    import soundfile

    score = scores.load(Path(job.score), Path(job.notes))
    if len(score.parts) != 4:
        return []
    soundfont, seconds = _bytes(job.soundfont), []
    for render in job.renders:
        if Path(render.path).is_file():
            seconds.append(soundfile.info(render.path).duration)
        else:
            seconds.append(play(score, render, soundfont, job.rate, job.channels))
    return seconds


def render_all(jobs: Iterable[Job], workers: int, done: Callable[[], Any]) -> list[list[float]]:
    """Results of `run_job` for every job, in order, computed in `workers` processes.

    `done` is called after each job. MultigenError with the worker's message if a job fails.
    """
    lines = [json.dumps(asdict(job)) for job in jobs]
    started: list[subprocess.Popen[str]] = []
    mine, lock = threading.local(), threading.Lock()

    def start() -> None:
        command = [sys.executable, "-m", "multigen.datasets.rendering"]
        pipe = subprocess.PIPE
        mine.worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
        with lock:
            started.append(mine.worker)

    def ask(line: str) -> list[float]:
        mine.worker.stdin.write(line + "\n")
        mine.worker.stdin.flush()
        answer = mine.worker.stdout.readline()
        if not answer:
            raise MultigenError(f"rendering failed: its process ended with code {mine.worker.wait()}")
        reply = json.loads(answer)
        if "error" in reply:
            raise MultigenError(f"{json.loads(line)['score']}: cannot be rendered ({reply['error']})")
        done()
        return reply["seconds"]

    pool = ThreadPoolExecutor(max(1, min(workers, len(lines))), initializer=start)
    try:
        return list(pool.map(ask, lines))
    finally:
        pool.shutdown(cancel_futures=True)
        for worker in started:
            worker.communicate()


@cache
def _bytes(path: str) -> bytes:
    content = Path(path).read_bytes()
    return lzma.decompress(content) if path.endswith(".xz") else content


def _serve() -> None:
    """Read jobs as JSON lines, write answers as JSON lines. Nothing else may write to standard output."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        renders = tuple(Render(**r) for r in job.pop("renders"))
        try:
            answer = {"seconds": run_job(Job(renders=renders, **job))}
        except Exception as error:  # the parent process reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the parent was interrupted too, and reports it
        _serve()
