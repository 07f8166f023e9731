"""One error message for a job of many ranks: the first rank to fail reports for all of them.

torchrun gives each rank a path TORCHELASTIC_ERROR_FILE, in a folder of its own inside a folder for each attempt.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from multigen.errors import Interrupted, MultigenError, RankLost, TrainingError

LAUNCHED = "MULTIGEN_LAUNCHED"  # set for ranks whose launcher prints their errors
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
_FILE = "reported.json"


def reported(error: BaseException) -> bool:
    """Report the error of this rank, if it is the first. Returns whether another process prints the message."""
    if isinstance(error, RankLost):
        return True
    if not os.environ.get(_ERROR_FILE):
        return False
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    report = {"text": str(error), "code": error.code if isinstance(error, MultigenError) else code}
    if isinstance(error, Interrupted):
        report = {"code": error.code, "step": error.step, "how": error.how}
    try:
        with (Path(os.environ[_ERROR_FILE]).parent.parent / _FILE).open("x", encoding="utf-8") as file:
            json.dump(report, file)
    except FileExistsError:
        return True
    except OSError:  # a full disk: rather print it twice than never
        return False
    return LAUNCHED in os.environ


def read_report(folder: Path) -> Exception | None:
    """Read the error of a job's last attempt; `folder` holds the folders of its attempts. None if there is none."""
    attempts = sorted(
        folder.glob(f"*/attempt_*/{_FILE}"), key=lambda p: int(p.parent.name.rpartition("_")[2])
    )
    if not attempts:
        return None
    report = json.loads(attempts[-1].read_text(encoding="utf-8"))
    if "step" in report:
        return Interrupted(report["code"] - 128, report["step"], report["how"])
    return (TrainingError if report["code"] == TrainingError.code else MultigenError)(report["text"])
