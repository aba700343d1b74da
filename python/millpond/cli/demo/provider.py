"""A local provider that speaks OpenAI's API over HTTP: `python -m millpond.cli.demo.provider`.

Serves `POST /v1/chat/completions` (whole, or streamed as server-sent events) and `GET /v1/models`
on loopback, prints its address as one line of JSON, and stops on SIGTERM, on Ctrl-C or, with
`--stop-with-stdin`, when its standard input closes: a parent that dies takes it along.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from millpond.cli.demo.completions import (
    LENGTH_HEADER,
    MODELS,
    ApiError,
    Completion,
    compose,
    parse_chat_request,
    parse_length_header,
)
from millpond.cli.demo.http1 import (
    MAX_HEAD_BYTES,
    BadRequestError,
    Request,
    read_request,
    write_event,
    write_event_stream_end,
    write_event_stream_head,
    write_json,
)
from millpond.cli.demo.laws import LatencyLaw

EVENT_SECONDS = 0.02  # Tokens that come within this time share one event of a stream.
CREATED = 1_700_000_000  # When the models were made, for `GET /v1/models`.


class Provider:
    """Answers requests.

    Args:
        seed: The same seed gives the same answers.
        speed: How many times faster than the published law it answers; above 0.
    """

    def __init__(self, *, seed: int = 0, speed: float = 1.0) -> None:
        self._seed = seed
        self._speed = speed
        self._law = LatencyLaw()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            while await self._serve_one(reader, writer):
                pass
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass  # The client has gone; nobody is left to tell.
        finally:
            writer.transport.abort()  # When cancelled, it waits for no client that reads.

    async def _serve_one(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        try:
            request = await read_request(reader, writer)
        except BadRequestError as error:
            body = ApiError(error.status, f"Bad HTTP request: {error}.").body
            write_json(writer, error.status, body, keep_alive=False)
            await writer.drain()
            return False
        if request is None:
            return False
        try:
            await self._answer(request, writer)
        except ApiError as error:
            write_json(
                writer,
                error.status,
                error.body,
                keep_alive=request.keep_alive,
                head_only=request.method == "HEAD",
            )
        await writer.drain()
        return request.keep_alive

    async def _answer(self, request: Request, writer: StreamWriter) -> None:
        route = (request.method, request.path)
        _check_route(route)
        _check_key(request)
        if request.path == "/v1/models":
            models = [
                {"id": model, "object": "model", "created": CREATED, "owned_by": "millpond-demo"}
                for model in MODELS
            ]
            body = {"object": "list", "data": models}
            write_json(writer, 200, body, keep_alive=request.keep_alive)
            return
        chat = parse_chat_request(request.body)
        length = parse_length_header(request.headers.get(LENGTH_HEADER))
        completion = compose(chat, length=length, seed=self._seed, law=self._law, speed=self._speed)
        if chat.stream:
            write_event_stream_head(writer, keep_alive=request.keep_alive)
            await _stream(writer, completion, include_usage=chat.include_usage)
            return
        await asyncio.sleep(completion.seconds)
        write_json(writer, 200, _whole(completion), keep_alive=request.keep_alive)


def _check_route(route: tuple[str, str]) -> None:
    routes = {"/v1/models": "GET", "/v1/chat/completions": "POST"}
    method, path = route
    allowed = routes.get(path)
    if allowed is None:
        known = ", ".join(f"{verb} {known}" for known, verb in routes.items())
        message = f"Unknown request URL: {method[:20]} {path[:200]}; there are {known}."
        raise ApiError(404, message, code="unknown_url")
    if method != allowed:
        raise ApiError(405, f"Only {allowed} is allowed on {path}.", code="method_not_supported")


def _check_key(request: Request) -> None:
    """Any key will do, but one must be there, as in life."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key: send Authorization: Bearer YOUR_KEY."
        raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")


def _whole(completion: Completion) -> dict[str, object]:
    message = {"role": "assistant", "content": completion.text, "refusal": None}
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": completion.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": completion.finish_reason,
            }
        ],
        "usage": completion.usage,
    }


async def _stream(writer: StreamWriter, completion: Completion, *, include_usage: bool) -> None:
    """Send the answer token by token, several to an event where they come fast."""
    created = int(time.time())

    def event(choices: list[object], usage: object = None) -> None:
        body: dict[str, object] = {
            "id": completion.id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": completion.model,
            "choices": choices,
        }
        if include_usage:
            body["usage"] = usage
        write_event(writer, json.dumps(body, separators=(",", ":")))

    def choice(delta: object, finish_reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    loop = asyncio.get_running_loop()
    due = loop.time() + completion.first_token_seconds
    event(choice({"role": "assistant", "content": ""}))
    await writer.drain()
    step = max(1, int(EVENT_SECONDS / max(completion.token_seconds, 1e-9)))
    for begin in range(0, completion.completion_tokens, step):
        await asyncio.sleep(due - loop.time())
        event(choice({"content": completion.text[begin * 4 : (begin + step) * 4]}))
        await writer.drain()
        due += step * completion.token_seconds
    event(choice({}, completion.finish_reason))
    if include_usage:
        event([], completion.usage)
    write_event(writer, "[DONE]")
    write_event_stream_end(writer)


async def run(*, port: int, seed: int, speed: float, stop_with_stdin: bool) -> None:
    """Serve on loopback until told to stop; print the address once it listens."""
    provider = Provider(seed=seed, speed=speed)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def terminate(signum: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGTERM, terminate)
    if stop_with_stdin:
        # The terminal sends Ctrl-C to the whole group; the parent decides when this one ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_wait_for_eof, args=(loop, stop), daemon=True).start()
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        listener.setblocking(False)
        connections = Connections(listener, provider)
        bound = listener.getsockname()[1]
        print(json.dumps({"url": f"http://127.0.0.1:{bound}/v1", "pid": os.getpid()}), flush=True)
        await stop.wait()
        await connections.close()


class Connections:
    """Serves whoever connects to a socket that listens, on the running loop.

    `asyncio.Server` and `sock_accept` both report errors about a connection that is accepted while
    they are told to stop; this takes none after `close`, and ends what it has taken.
    """

    def __init__(self, listener: socket.socket, provider: Provider) -> None:
        self._listener = listener
        self._provider = provider
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def close(self) -> None:
        """Accept nobody any more, and end every connection where it stands."""
        asyncio.get_running_loop().remove_reader(self._listener)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # The client has gone, or no descriptor is left: one may be, next time.
        task = asyncio.create_task(self._serve(connection))
        self._open[task] = connection
        task.add_done_callback(self._ended)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_HEAD_BYTES)
        await self._provider.serve(reader, writer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Wait until the other end of standard input is closed.

    Reads the descriptor itself: a thread inside `sys.stdin` would hold its lock at shutdown.
    """
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    with suppress(RuntimeError):  # The loop may have ended first.
        loop.call_soon_threadsafe(stop.set)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the provider as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m millpond.cli.demo.provider",
        description="A local provider that speaks OpenAI's chat completions API over HTTP.",
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback (0: any free one)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same answers")
    parser.add_argument("--speed", type=float, default=1.0, help="times faster than the law")
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="stop when standard input closes"
    )
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, not {arguments.port}")
    if not 0 < arguments.speed < float("inf"):
        parser.error(f"--speed must be above 0 and finite, not {arguments.speed}")
    try:
        asyncio.run(
            run(
                port=arguments.port,
                seed=arguments.seed,
                speed=arguments.speed,
                stop_with_stdin=arguments.stop_with_stdin,
            )
        )
    except OSError as error:
        print(f"cannot listen on port {arguments.port}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
