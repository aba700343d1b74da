"""The provider over real HTTP: the openai client, raw sockets, bad input, its end."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import openai
import pytest

from millpond.cli.demo import http1
from millpond.cli.demo.completions import LENGTH_HEADER, MODELS, count_tokens

from .conftest import Running, start_provider, stop_provider

MODEL = MODELS[0]
AUTHORIZED = {"Authorization": "Bearer some-key"}


@pytest.fixture
def client(provider: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.url, api_key="some-key", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, question: str, **options: object) -> openai.types.CompletionUsage:
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], **options
    )
    assert reply.usage is not None
    return reply.usage


def raw(provider: Running, request: bytes, *, finish: bool = False) -> bytes:
    """Send bytes, end our side if asked, and return all that comes until the other side ends."""
    with socket.create_connection(("127.0.0.1", provider.port), timeout=10) as connection:
        connection.sendall(request)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def post(body: bytes, *headers: str) -> bytes:
    """A request for a completion on a connection that closes afterwards."""
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Authorization: Bearer k",
        "Connection: close",
        *(headers or (f"Content-Length: {len(body)}",)),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_and_error(response: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_completion_has_text_usage_and_a_reason_to_end(client: openai.OpenAI) -> None:
    question = "How do I wake up a starter?"
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}]
    )
    text = reply.choices[0].message.content

    assert text is not None
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == count_tokens(question)
    assert reply.usage.completion_tokens == count_tokens(text)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert (reply.choices[0].finish_reason, reply.model) == ("stop", MODEL)


def test_equal_questions_get_equal_answers_and_others_do_not(client: openai.OpenAI) -> None:
    def text(question: str) -> str | None:
        reply = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}]
        )
        return reply.choices[0].message.content

    assert text("one") == text("one") != text("two")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_cuts_the_answer_and_says_so(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "At length, please"}],
        extra_body={name: 5},
    )

    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5
    assert reply.choices[0].finish_reason == "length"


def test_a_replayed_trace_decides_the_length(client: openai.OpenAI) -> None:
    assert ask(client, "x", extra_headers={LENGTH_HEADER: "321"}).completion_tokens == 321
    assert ask(client, "x", extra_headers={LENGTH_HEADER: "0"}).completion_tokens == 0
    with pytest.raises(openai.BadRequestError, match=LENGTH_HEADER):
        ask(client, "x", extra_headers={LENGTH_HEADER: "many"})


def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which flour for pizza?"}]},
    ]
    whole = client.chat.completions.create(model=MODEL, messages=messages)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert {c.id for c in chunks} == {whole.id}


def test_a_stream_without_usage_has_none(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True
        )
    )

    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_async_client_gets_the_same(provider: Running, client: openai.OpenAI) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": "Why?"}
    ]
    plain = client.chat.completions.create(model=MODEL, messages=messages)
    async with openai.AsyncOpenAI(base_url=provider.url, api_key="k") as async_client:
        whole = await async_client.chat.completions.create(model=MODEL, messages=messages)
        stream = await async_client.chat.completions.create(
            model=MODEL, messages=messages, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert whole.choices[0].message.content == text == plain.choices[0].message.content


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert tuple(model.id for model in client.models.list()) == MODELS


@pytest.mark.parametrize(
    ("options", "error", "param"),
    [
        ({"model": "gpt-none"}, openai.NotFoundError, "model"),
        ({"n": 2}, openai.BadRequestError, "n"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": ["hello"]}, openai.BadRequestError, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, openai.BadRequestError, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": 7}]},
            openai.BadRequestError,
            "messages[0].content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            openai.BadRequestError,
            "messages[0].content",
        ),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens"),
        ({"max_completion_tokens": True}, openai.BadRequestError, "max_completion_tokens"),
        ({"stream": "yes"}, openai.BadRequestError, "stream"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: openai.OpenAI,
    options: dict[str, object],
    error: type[openai.APIStatusError],
    param: str,
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "?"}], extra_body=options
        )

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == param
    assert caught.value.body["type"] == "invalid_request_error"


def test_a_key_must_be_there(provider: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic abc"}):
        connection.request("GET", "/v1/models", headers=headers)
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        assert (response.status, error["code"]) == (401, "invalid_api_key")
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
    ],
)
def test_unknown_routes_are_refused(provider: Running, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    connection.request(method, path, headers=AUTHORIZED)
    response = connection.getresponse()

    assert (response.status, set(json.loads(response.read()))) == (status, {"error"})
    connection.close()


def test_one_connection_serves_many_requests_also_after_errors(provider: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    connection.connect()
    kept = connection.sock
    for body, status in [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b"[" * 200_000, 400)] * 2:
        connection.request("POST", "/v1/chat/completions", body=body, headers=AUTHORIZED)
        response = connection.getresponse()
        assert (response.status, "error" in json.loads(response.read())) == (status, True)
    connection.request("GET", "/v1/models?limit=3", headers=AUTHORIZED)
    assert connection.getresponse().read().startswith(b'{"object":"list"')
    assert connection.sock is kept
    connection.close()


def test_a_chunked_body_is_read(provider: Running) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    chunks = b"".join(b"%x;x=1\r\n%b\r\n" % (len(p), p) for p in (body[:10], body[10:]))
    request = post(chunks + b"0\r\nTrailer: x\r\n\r\n", "Transfer-Encoding: chunked")
    head, _, payload = raw(provider, request).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(payload)["usage"]["prompt_tokens"] == 1


def test_a_client_that_expects_to_be_told_is_told_to_go_on(provider: Running) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    length = f"Content-Length: {len(body)}"

    assert raw(provider, post(body, length, "Expect: 100-continue")).startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


@pytest.mark.parametrize(
    ("request_", "status", "complaint"),
    [
        (b"hello\r\n\r\n", 400, "request line"),
        (b"GET / HTTP/3\r\n\r\n", 400, "request line"),
        (b"\x00\xff\x80 \x01 \x02\r\n\r\n", 400, "request line"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "header line"),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400, "header line"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * http1.MAX_HEAD_BYTES + b"\r\n\r\n", 431, "head"),
        (b"x" * (http1.MAX_HEAD_BYTES + 4), 431, "head"),
        (post(b"", "Content-Length: -1"), 400, "Content-Length must be"),
        (post(b"", "Content-Length: ten"), 400, "Content-Length must be"),
        (post(b"", "Content-Length: 1", "Content-Length: 2"), 400, "given once"),
        (post(b"", f"Content-Length: {http1.MAX_BODY_BYTES + 1}"), 413, "over"),
        (post(b"", "Content-Length: " + "9" * 5000), 413, "over"),
        (post(b"", "Transfer-Encoding: gzip"), 400, "may be chunked"),
        (
            post(b"", "Transfer-Encoding: chunked", "Content-Length: 3"),
            400,
            "without Content-Length",
        ),
        (post(b"zz\r\n", "Transfer-Encoding: chunked"), 400, "hexadecimal"),
        (post(b"-1\r\n", "Transfer-Encoding: chunked"), 400, "hexadecimal"),
        (post(b"2\r\nabc\r\n", "Transfer-Encoding: chunked"), 400, "end where its size says"),
        (post(b"fffffff\r\n", "Transfer-Encoding: chunked"), 413, "over"),
    ],
)
def test_what_is_not_http_gets_an_error_and_the_connection_ends(
    provider: Running, request_: bytes, status: int, complaint: str
) -> None:
    found, error = status_and_error(raw(provider, request_))

    assert found == status
    assert complaint in str(error["message"])


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"GET / HT",
        post(b"{", "Content-Length: 10"),
        post(b"5\r\nab", "Transfer-Encoding: chunked"),
    ],
)
def test_a_client_that_leaves_half_way_hangs_nothing(provider: Running, request_: bytes) -> None:
    assert raw(provider, request_, finish=True) == b""


def test_a_port_out_of_range_and_a_bad_speed_are_refused() -> None:
    for options, complaint in [
        (["--port", "65536"], "--port must be from 0 to 65535"),
        (["--speed", "0"], "--speed must be above 0"),
        (["--speed", "nan"], "--speed must be above 0"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "millpond.cli.demo.provider", *options],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, complaint in done.stderr) == (2, True)


def test_a_port_in_use_is_reported(provider: Running) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "millpond.cli.demo.provider", "--port", str(provider.port)],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen on port {provider.port}")


def _terminate(running: Running) -> int:
    running.process.send_signal(signal.SIGTERM)
    return running.process.wait(timeout=10)


@pytest.mark.parametrize("end", [stop_provider, _terminate])
def test_it_stops_in_the_middle_of_an_answer(end: Callable[[Running], int]) -> None:
    running = start_provider("--speed", "0.01")  # This answer would take minutes.
    question = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(post(json.dumps(question).encode()))
        begun = b""
        while b'"role":"assistant"' not in begun:
            begun += connection.recv(4096)

        assert end(running) == 0
        while part := connection.recv(4096):
            assert b"[DONE]" not in part
    for pipe in (running.process.stdin, running.process.stdout):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize("turn", range(4))
def test_it_stops_in_silence_while_clients_connect(turn: int) -> None:
    running = start_provider("--speed", "4", stderr=subprocess.PIPE)
    question = post(
        json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    )
    connections: list[socket.socket] = []
    enough = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            while len(connections) < 3000:
                connections.append(
                    socket.create_connection(("127.0.0.1", running.port), timeout=10)
                )
                connections[-1].sendall(question)
                if len(connections) > 50 * turn:
                    enough.set()

    storm = threading.Thread(target=connect)
    storm.start()
    enough.wait(10)
    assert stop_provider(running) == 0
    storm.join()
    for connection in connections:
        connection.close()

    assert running.process.stderr is not None
    with running.process.stderr as complaints:
        assert complaints.read() == ""


def test_it_outlives_a_ctrl_c_of_the_terminal_but_not_its_parent() -> None:
    running = start_provider()
    running.process.send_signal(signal.SIGINT)
    with openai.OpenAI(base_url=running.url, api_key="k") as client:
        assert len(client.models.list().data) == len(MODELS)

    assert stop_provider(running) == 0
