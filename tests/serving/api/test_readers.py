"""Uploads are read in a few processes that last."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time

import pytest

from multigen.errors import MediaError
from multigen.serving.api.readers import Readers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are read in this process there")


def where(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def crash() -> None:
    ctypes.string_at(0)


def test_the_same_processes_read_all_files() -> None:
    async def read() -> list[int]:
        readers = Readers(2)
        await readers.start()
        try:
            return await asyncio.gather(*(readers.read("a", where, 0.02) for _ in range(20)))
        finally:
            readers.close()

    found = asyncio.run(read())
    assert len(set(found)) == 2 and os.getpid() not in found


def test_a_crash_and_a_file_without_end_cost_one_reading_each() -> None:
    async def read() -> tuple[BaseException | int, ...]:
        readers = Readers(1, seconds=0.5)
        try:
            return tuple(
                await asyncio.gather(
                    readers.read("a.png", where),
                    readers.read("b.png", crash),
                    readers.read("c.png", where, 5.0),
                    readers.read("d.png", where),
                    return_exceptions=True,
                )
            )
        finally:
            readers.close()

    first, crashed, endless, last = asyncio.run(read())
    assert isinstance(first, int) and isinstance(last, int) and first != last
    assert isinstance(crashed, MediaError) and "b.png" in str(crashed) and "SIGSEGV" in str(crashed)
    assert isinstance(endless, MediaError) and "c.png: cannot be read within 0.5 s" in str(endless)


def test_who_gives_up_leaves_the_place_to_the_next() -> None:
    async def read() -> int:
        readers = Readers(1)
        try:
            one = asyncio.create_task(readers.read("a", where, 0.3))
            await asyncio.sleep(0.05)
            one.cancel()
            return await readers.read("b", where)
        finally:
            readers.close()

    assert asyncio.run(read()) != os.getpid()
