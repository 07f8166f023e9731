"""One message for a job of many ranks: the first of them to fail says why, for all.

torchrun gives each rank a file TORCHELASTIC_ERROR_FILE in a folder of its own, in one folder for each try of the job.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from multigen.errors import Interrupted, Lost, MultigenError, TrainingError

LAUNCHED = "MULTIGEN_LAUNCHED"  # set for the ranks whose launcher speaks for them
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
_FILE = "told.json"


def told(error: BaseException) -> bool:
    """Whether another process says why this one ends."""
    if isinstance(error, Lost):
        return True
    if not os.environ.get(_ERROR_FILE):
        return False
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    said = {"text": str(error), "code": error.code if isinstance(error, MultigenError) else code}
    if isinstance(error, Interrupted):
        said = {"code": error.code, "step": error.step, "how": error.how}
    try:
        with (Path(os.environ[_ERROR_FILE]).parent.parent / _FILE).open("x", encoding="utf-8") as file:
            json.dump(said, file)
    except FileExistsError:
        return True
    except OSError:  # a full disk: better twice than never
        return False
    return LAUNCHED in os.environ


def heard(folder: Path) -> Exception | None:
    """What the ranks of a job's last try said; `folder` holds the folders of its tries."""
    tries = sorted(folder.glob(f"*/attempt_*/{_FILE}"), key=lambda p: int(p.parent.name.rpartition("_")[2]))
    if not tries:
        return None
    said = json.loads(tries[-1].read_text(encoding="utf-8"))
    if "step" in said:
        return Interrupted(said["code"] - 128, said["step"], said["how"])
    return (TrainingError if said["code"] == TrainingError.code else MultigenError)(said["text"])
