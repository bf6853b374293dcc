"""One stream at an address: prints the milliseconds between its messages."""

import asyncio
import sys

import grpc

from benchmarks.hostile_searches import Streams


async def main(address: str, num_tokens: int) -> None:
    """One stream, a line an interval."""
    async with grpc.aio.insecure_channel(address) as channel:
        for interval_ms in await Streams(channel).intervals_ms(num_tokens):
            print(f"{interval_ms:.3f}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
