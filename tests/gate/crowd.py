"""A crowd of clients in its own process, so that its sockets do not count towards this one's file limit.

    python crowd.py PORT COUNT MANNER     stays until its standard input ends

Says `there` once all have come and done what MANNER says, and then one line for everything that happens to one of
them, `answered 408` or `dropped`. The first bytes to send are on standard input, in hex, one line.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections import Counter


async def main(port: int, count: int, manner: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    first = bytes.fromhex(await asyncio.to_thread(sys.stdin.readline))
    ends: Counter[str] = Counter()
    writers: list[asyncio.StreamWriter] = []

    async def come() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            ends["not let in"] += 1
            return
        writers.append(writer)
        if first:
            writer.write(first)
        if manner == "ask":
            await reader.readuntil(b"\r\n\r\n")
        watching.append(asyncio.create_task(watch(reader)))

    async def watch(reader: asyncio.StreamReader) -> None:
        try:
            text = await reader.read()
        except ConnectionError:
            text = b""
        ends[f"answered {text[9:12].decode()}" if text else "dropped"] += 1

    watching: list[asyncio.Task[None]] = []
    for start in range(0, count, 500):
        await asyncio.gather(*(come() for _ in range(min(500, count - start))))
    sys.stdout.write("there\n")
    sys.stdout.flush()
    leaving = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    while not leaving.done():
        await asyncio.wait([leaving], timeout=0.2)
        if manner == "drip":
            for writer in writers:
                if not writer.is_closing():
                    writer.write(b"a")
    before = -1
    while sum(ends.values()) > before:  # first read what has arrived
        before = sum(ends.values())
        await asyncio.sleep(0.3)
    for task in watching:
        if not task.done():
            task.cancel()
            ends["open"] += 1
    sys.stdout.write(" ".join(f"{end.replace(' ', '_')}={number}" for end, number in sorted(ends.items())))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
