"""The little of HTTP/1.1 that the local provider needs, on asyncio streams.

Reads one request at a time from a kept-alive connection, within stated limits of size and time, and
writes plain or chunked responses. Use a real server for anything that faces a network: this one
listens on loopback and exists so that the demo needs no further package.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024
IDLE_SECONDS = 75.0  # How long a kept-alive connection may wait for its next request.
READ_SECONDS = 30.0  # How long the rest of a request may take once its head is there.


class BadRequestError(Exception):
    """A request that is not HTTP as this server speaks it; the connection ends with `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


async def read_request(reader: StreamReader, writer: StreamWriter) -> Request | None:
    """Read the next request; None where the client has gone or stays silent.

    Raises:
        BadRequestError: What was sent is malformed, too large or too slow.
    """
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except (TimeoutError, asyncio.IncompleteReadError):
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError(431, f"the head is over {MAX_HEAD_BYTES:,} bytes") from None
    method, path, version, headers = _parse_head(head)
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read_body(reader, writer, headers)
    except TimeoutError:
        raise BadRequestError(408, f"the body took over {READ_SECONDS:g} s") from None
    except asyncio.IncompleteReadError:
        return None
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
    return Request(method, path, headers, body, keep_alive)


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequestError(400, "the request line must read METHOD PATH HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, "a header line must read Name: value")
        if name.lower() in ("content-length", "transfer-encoding") and name.lower() in headers:
            raise BadRequestError(400, f"{name} must be given once")
        headers[name.lower()] = value.strip()
    return parts[0], parts[1].partition("?")[0], parts[2], headers


async def _read_body(
    reader: StreamReader, writer: StreamWriter, headers: Mapping[str, str]
) -> bytes:
    """Read the body by Content-Length or in chunks."""
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    encoding = headers.get("transfer-encoding")
    text = headers.get("content-length", "0")
    if encoding is not None:
        if encoding.lower() != "chunked" or "content-length" in headers:
            raise BadRequestError(400, "Transfer-Encoding may be chunked, without Content-Length")
        return await _read_chunks(reader)
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(400, "Content-Length must be a number")
    if len(text) > 12 or int(text) > MAX_BODY_BYTES:
        raise BadRequestError(413, f"the body is over {MAX_BODY_BYTES:,} bytes")
    return await reader.readexactly(int(text))


async def _read_chunks(reader: StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = _chunk_size(await _read_line(reader))
        if len(body) + size > MAX_BODY_BYTES:
            raise BadRequestError(413, f"the body is over {MAX_BODY_BYTES:,} bytes")
        if size == 0:
            break
        body += await reader.readexactly(size)
        if await _read_line(reader):
            raise BadRequestError(400, "a chunk must end where its size says")
    while await _read_line(reader):  # Trailers, which say nothing to this server.
        pass
    return bytes(body)


async def _read_line(reader: StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError:
        raise BadRequestError(400, "a line of a chunked body is too long") from None


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or len(digits) > 8 or not all(c in b"0123456789abcdefABCDEF" for c in digits):
        raise BadRequestError(400, "a chunk must begin with its size in hexadecimal")
    return int(digits, 16)


def write_json(
    writer: StreamWriter, status: int, body: object, *, keep_alive: bool, head_only: bool = False
) -> None:
    """Write a whole JSON response; drain the writer afterwards."""
    payload = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + (b"" if head_only else payload))


def write_event_stream_head(writer: StreamWriter, *, keep_alive: bool) -> None:
    """Begin a chunked response of server-sent events."""
    writer.write(
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream; charset=utf-8\r\n"
        b"Cache-Control: no-cache\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Connection: " + (b"keep-alive" if keep_alive else b"close") + b"\r\n\r\n"
    )


def write_event(writer: StreamWriter, data: str) -> None:
    """Write one server-sent event as one chunk."""
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def write_event_stream_end(writer: StreamWriter) -> None:
    """End a chunked response."""
    writer.write(b"0\r\n\r\n")
