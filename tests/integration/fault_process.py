"""The process of a fault proxy: it copies bytes between clients and a server, and does it badly.

`faults.py` starts it, writes a JSON object a line to its input, and reads one answer a line. It
needs nothing but the standard library, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from collections import deque
from pathlib import Path
from typing import Any

HEAD = 64 << 10  # What is kept of the bytes that a client sent, to tell connections apart.
QUEUE = 1 << 20  # What is read ahead of a slow writer.
Address = list[Any] | str

UP, DOWN = 0, 1


class Fault:
    """What happens to one direction of one connection. Fields that a mode does not use are idle."""

    def __init__(self, mode: str = "pass", **options: Any) -> None:
        self.mode = mode
        self.seconds: float = options.get("seconds", 0.0)
        self.after: int = options.get("after", 0)
        self.every: int = options.get("every", 7)
        self.passed = 0

    def fresh(self) -> Fault:
        return Fault(self.mode, seconds=self.seconds, after=self.after, every=self.every)

    def corrupted(self, data: bytes) -> bytes:
        """Every `every`-th byte after the first `after`, inverted."""
        place = self.passed
        return bytes(
            byte ^ 0xFF if place + i >= self.after and (place + i) % self.every == 0 else byte
            for i, byte in enumerate(data)
        )


class Pipe:
    """One direction of a connection: read ahead into a queue, and written as the fault says."""

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket, way: int) -> None:
        self.link, self.source, self.sink, self.way = link, source, sink, way
        self.fault = Fault()
        self.queue: deque[tuple[float, bytes]] = deque()
        self.queued = 0
        self.bytes = 0
        self.changed = asyncio.Event()
        self.room = asyncio.Event()

    def set(self, fault: Fault) -> None:
        # What a half-open connection dropped is never sent again, so it stays as it is.
        if self.fault.mode != "half_open":
            self.fault = fault.fresh()
        self.changed.set()

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self.source, 65_536)
            if self.way == UP and len(self.link.head) < HEAD:
                self.link.head += data
            self.queue.append((loop.time(), data))
            self.queued += len(data)
            self.changed.set()
            if not data:
                return
            self.room.clear()
            if self.queued > QUEUE:
                await self.room.wait()

    async def write(self) -> None:
        while True:
            if not self.queue:
                await self._change()
                continue
            arrived, data = self.queue[0]
            if not await self._step(arrived, data):
                return

    async def _step(self, arrived: float, data: bytes) -> bool:
        """Do what the fault says with the first of the queue; False at the end."""
        fault, loop = self.fault, asyncio.get_running_loop()
        if fault.mode == "freeze":
            await self._change()
        elif fault.mode == "half_open":
            self._take(len(data))
            if not data:
                await asyncio.Event().wait()  # Not even the end is passed on.
        elif fault.mode == "latency" and loop.time() < arrived + fault.seconds:
            await self._change(arrived + fault.seconds - loop.time())
        elif not data:
            self._take(0)
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
            return False
        elif fault.mode == "drip":
            await self._send(fault, data[:1])
            await self._change(fault.seconds)
        elif fault.mode in ("truncate", "reset"):
            await self._send(fault, data[: fault.after - fault.passed])
            if fault.passed >= fault.after:
                self.link.close(reset=fault.mode == "reset")
                return False
        elif fault.mode == "corrupt":
            await self._send(fault, data)
        else:
            await self._send(fault, data)
        return True

    async def _send(self, fault: Fault, data: bytes) -> None:
        sent = fault.corrupted(data) if fault.mode == "corrupt" else data
        self._take(len(data))
        fault.passed += len(data)
        self.bytes += len(data)
        await asyncio.get_running_loop().sock_sendall(self.sink, sent)

    def _take(self, count: int) -> None:
        arrived, data = self.queue.popleft()
        if count < len(data):
            self.queue.appendleft((arrived, data[count:]))
        self.queued -= count
        self.room.set()

    async def _change(self, seconds: float | None = None) -> None:
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)


def close(sock: socket.socket) -> None:
    """Close it, and wait for it no more: what waits now would later end the wait of another socket
    that has got the same number."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(sock)
    loop.remove_writer(sock)
    sock.close()


class Link:
    """A client's connection, with the one to the server."""

    def __init__(self, number: int, client: socket.socket, proxy: Proxy) -> None:
        self.number, self.client, self.proxy = number, client, proxy
        self.server: socket.socket | None = None
        self.pipes: list[Pipe] = []
        self.head = b""
        self.open = True
        self.task = asyncio.ensure_future(self.run(list(proxy.faults), proxy.accept_delay))

    async def run(self, faults: list[Fault], delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            self.server = await connect(self.proxy.server)
            self.pipes = [
                Pipe(self, self.client, self.server, UP),
                Pipe(self, self.server, self.client, DOWN),
            ]
            for pipe, fault in zip(self.pipes, faults, strict=True):
                pipe.set(fault)
            parts = [part for pipe in self.pipes for part in (pipe.read(), pipe.write())]
            await asyncio.gather(*parts)
            self.close()
        except OSError:
            # One side was reset: so is the other, unless the link plays dead.
            if any(pipe.fault.mode == "half_open" for pipe in self.pipes):
                await asyncio.Event().wait()
            self.close(reset=True)

    def close(self, *, reset: bool = False) -> None:
        if not self.open:
            return
        self.open = False
        for one in (self.client, self.server):
            if one is not None:
                if reset and one.family == socket.AF_INET:
                    linger = struct.pack("ii", 1, 0)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                close(one)
        if self.task is not asyncio.current_task():
            self.task.cancel()

    def report(self) -> dict[str, Any]:
        up, down = (pipe.bytes for pipe in self.pipes) if self.pipes else (0, 0)
        return {"number": self.number, "open": self.open, "up": up, "down": down}


async def connect(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(
            server, address if isinstance(address, str) else tuple(address)
        )
    except BaseException:
        close(server)
        raise
    if family == socket.AF_INET:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


class Proxy:
    def __init__(self, listen: Address, server: Address) -> None:
        self.listen_address, self.server = listen, server
        self.links: list[Link] = []
        self.faults = [Fault(), Fault()]
        self.accept_delay = 0.0
        self.listener: socket.socket | None = None
        self.acceptor: asyncio.Future[None] | None = None

    def listen(self) -> None:
        if self.listener is not None:
            return
        address = self.listen_address
        if isinstance(address, str):
            self.listener = socket.socket(socket.AF_UNIX)
            Path(address).unlink(missing_ok=True)
            self.listener.bind(address)
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(tuple(address))
        self.listener.setblocking(False)
        self.listener.listen(512)
        self.acceptor = asyncio.ensure_future(self._accept(self.listener))

    def refuse(self) -> None:
        if self.acceptor is not None and self.listener is not None:
            self.acceptor.cancel()
            close(self.listener)
            self.acceptor = self.listener = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
            client.setblocking(False)
            if client.family == socket.AF_INET:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.links.append(Link(len(self.links), client, self))

    # ---- orders

    def chosen(self, order: dict[str, Any]) -> list[Link]:
        """The open connections that an order is for."""
        links = [link for link in self.links if link.open]
        if order.get("to") in ("new", "none"):
            return []
        if isinstance(order.get("to"), list):
            links = [link for link in links if link.number in order["to"]]
        if order.get("sent"):
            needle = bytes.fromhex(order["sent"])
            links = [link for link in links if needle in link.head]
        return links

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        links = self.chosen(order)
        name = order["order"]
        if name == "set":
            self._set(order, links)
        elif name == "cut":
            for link in links:
                link.close(reset=order["reset"])
        elif name == "point":
            self.server = order["server"]
        elif name == "report":
            return {"links": [link.report() for link in (links if "sent" in order else self.links)]}
        return {"links": [link.number for link in links]}

    def _set(self, order: dict[str, Any], links: list[Link]) -> None:
        mode = order["mode"]
        fault = Fault(**order["fault"])
        if mode in ("kill", "refuse"):
            self.refuse()
            for link in links if mode == "kill" else []:
                link.close(reset=order["reset"])
            return
        if mode == "slow_accept":
            self.accept_delay = fault.seconds
            return
        ways = {"up": [UP], "down": [DOWN], "both": [UP, DOWN]}[order["way"]]
        for link in links:
            for way in ways if link.pipes else []:
                link.pipes[way].set(fault)
        if order["to"] in ("all", "new"):
            for way in ways:
                self.faults[way] = fault
            if mode == "pass":
                self.accept_delay = 0.0
                self.listen()


async def main(listen: Address, server: Address) -> None:
    proxy = Proxy(listen, server)
    try:
        proxy.listen()
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps({}), flush=True)
    while line := await orders.readline():
        try:
            answer = proxy.obey(json.loads(line))
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # What is still open closes with the process.


if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.argv[1])))
