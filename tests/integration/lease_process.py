"""A worker of test_lease_processes.py: an Engine in its own process, told on stdin what to call.

Each line is JSON: {"call": [keys]} answers with the value or the error of each, when it has them;
{"stats": true} with the counts, at once. What its function does is steered through a Redis: it
notes each of its calls in the list "calls", and passes "gate:{key}" once something has been pushed
there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from tests.integration.leases import patient

_SECONDS = 60


class Worker:
    def __init__(self, where: str, url: str) -> None:
        self.mill = patient(where)
        self.client = redis.Redis.from_url(url)

    def body(self, key: str) -> Any:
        self.client.rpush("calls", f"{key} {os.getpid()}")
        what = key.partition(":")[0]
        if what != "plain":
            self.client.blpop([f"gate:{key}"], _SECONDS)
        if what == "raise":
            raise LookupError(key)
        return {"key": key, "by": os.getpid(), "keep": what != "refuse"}

    def given(self) -> dict[str, Any]:
        return {"namespace": "test", "condition": lambda value: value["keep"], "ttl": "10m"}


def as_threads(worker: Worker) -> Any:
    def load(key: str) -> Any:
        return worker.body(key)

    load.__qualname__ = "load"
    function = worker.mill.with_cache(**worker.given())(load)

    def one(key: str) -> Any:
        try:
            return function(key)
        except LookupError as error:
            return {"error": str(error)}

    def call(keys: list[str]) -> list[Any]:
        with ThreadPoolExecutor(len(keys)) as pool:
            return list(pool.map(one, keys))

    return call


def as_tasks(worker: Worker) -> Any:
    async def load(key: str) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, worker.body, key)

    executor = ThreadPoolExecutor(32)
    load.__qualname__ = "load"
    function = worker.mill.with_cache(**worker.given())(load)

    async def one(key: str) -> Any:
        try:
            return await function(key)
        except LookupError as error:
            return {"error": str(error)}

    def call(keys: list[str]) -> list[Any]:
        async def main() -> list[Any]:
            return list(await asyncio.gather(*(one(key) for key in keys)))

        return runner.run(main())

    runner = asyncio.Runner()
    return call


def main() -> None:
    where, url, kind = sys.argv[1:]
    worker = Worker(where, url)
    call = {"threads": as_threads, "tasks": as_tasks}[kind](worker)

    def say(answer: Any) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    [stage] = worker.mill._stages
    print("ready", flush=True)
    with ThreadPoolExecutor(1) as caller:
        for line in sys.stdin:
            command = json.loads(line)
            if "call" in command:
                caller.submit(lambda keys=command["call"]: say(call(keys)))
            else:
                stats = worker.mill.stats()[stage.tier.name]
                say({"leases": stats["leases"], "fills_refused": stats["fills_refused"]})


if __name__ == "__main__":
    main()
