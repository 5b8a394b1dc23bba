"""How close many prompts come to what a server allows, and what each costs us in CPU and memory.

Run: python benchmarks/lmm_throughput.py [--prompts 1000] [--concurrency 32] [--latency 0.2]
[--photo FILE]. A server in a process of its own answers every request after `latency` seconds; the
ideal is prompts × latency / concurrency. Without --photo, a JPEG of 512 × 384 pixels is made.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from img2loc.core.types import Photo, Prompt
from img2loc.lmm.openai import OpenAIChat

_BODY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "48.8584, 2.2945"},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


def _serve(latency: float, told: Connection) -> None:
    """Answer every POST after `latency` seconds; just enough of HTTP to cost next to nothing."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % len(_BODY)
        )
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = int(request.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(latency)
                writer.write(head + _BODY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(client, "127.0.0.1", 0, limit=2**24, backlog=512)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _prompts(photo: Photo, count: int) -> Iterator[Prompt]:
    return (Prompt(f"Where was photo {number} taken?", photo) for number in range(count))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="How close many prompts come to what a server allows."
    )
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--photo", type=Path)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(options.latency, theirs), daemon=True)
    server.start()
    os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{ours.recv()}/v1"
    with tempfile.TemporaryDirectory() as folder:
        path = options.photo or Path(folder) / "photo.jpg"
        if not options.photo:
            coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC).save(path)
        photo = Photo(path)
        model = OpenAIChat("m", concurrency=options.concurrency)
        list(
            model.ask(_prompts(photo, options.concurrency))
        )  # connections are open, modules are imported
        print(
            f"{'prompts':>8} {'seconds':>8} {'ideal':>8} {'share':>6} {'CPU ms each':>12}"
            f" {'peak MB':>8}"
        )
        for count in (options.prompts // 10, options.prompts, options.prompts * 10):
            started, used = time.perf_counter(), time.process_time()
            in_order = all(
                reply.status == "answered" for reply in model.ask(_prompts(photo, count))
            )
            took, cpu = time.perf_counter() - started, time.process_time() - used
            ideal = count * options.latency / options.concurrency
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{count:8} {took:8.2f} {ideal:8.2f} {ideal / took:6.2f} {1000 * cpu / count:12.2f}"
                f" {peak:8.0f}"
            )
            if not in_order:
                raise SystemExit("Some prompts were not answered.")
    server.terminate()


if __name__ == "__main__":
    main()
