"""Logs of a server: a JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time


class JsonLines(logging.Formatter):
    """One line a record. Those of the access log are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if record.name == "multigen.access":
            return record.getMessage()
        line = {
            "time": round(record.created or time.time(), 3),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def show_logs(level: int = logging.INFO) -> None:
    """Show what the server and uvicorn log on stderr."""
    logging.captureWarnings(True)  # lines as the others, not text of Python's own
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, at in (("multigen", level), ("uvicorn", logging.WARNING), ("py.warnings", level)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(at)
        logger.propagate = False
