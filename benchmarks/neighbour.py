"""Streams at an address, one a line of stdin: a line of the milliseconds between its messages.

A line says how many tokens its stream has.
"""

import asyncio
import sys

import grpc

from benchmarks.hostile_searches import Streams


async def main(address: str) -> None:
    """One stream after another, a line of intervals each."""
    async with grpc.aio.insecure_channel(address) as channel:
        streams = Streams(channel)
        while line := await asyncio.to_thread(sys.stdin.readline):
            intervals_ms = await streams.intervals_ms(int(line))
            print(" ".join(f"{interval_ms:.3f}" for interval_ms in intervals_ms), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
