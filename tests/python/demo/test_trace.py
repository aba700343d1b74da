"""Trace files: what is read, how it is fitted into the time, what is refused and how."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from millpond.cli.demo import trace
from millpond.cli.demo.trace import Row, TraceError, read_trace, trace_workload
from millpond.cli.demo.traffic import Shape

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.6805900,396,109\r\n"
    "2023-11-16 18:15:48.6805900,879,55"
)


def block(at: float, prompt: int, completion: int, hashes: Sequence[object]) -> str:
    return json.dumps(
        {
            "timestamp": at,
            "input_length": prompt,
            "output_length": completion,
            "hash_ids": list(hashes),
        }
    )


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz", "TRACE.CSV"])
def test_a_csv_is_read_in_order_of_time_from_zero(tmp_path: Path, name: str) -> None:
    rows = read_trace(write(tmp_path / name, AZURE))

    assert [(row.prompt_tokens, row.completion_tokens) for row in rows] == [
        (374, 44),
        (879, 55),
        (396, 109),
    ]
    assert [row.at for row in rows] == pytest.approx([0.0, 2.0, 4.0])
    assert {row.identity for row in rows} == {None}


@pytest.mark.parametrize("text", ["5,1,2\n7.5,3,4\n", "time,prompt,completion\n5,1,2\n\n7.5,3,4"])
def test_seconds_and_a_missing_header_and_blank_lines_are_fine(tmp_path: Path, text: str) -> None:
    assert read_trace(write(tmp_path / "t.csv", text)) == [Row(0.0, 1, 2), Row(2.5, 3, 4)]


def test_prompts_of_a_jsonl_are_equal_when_all_their_hashes_are(tmp_path: Path) -> None:
    lines = [
        block(1000, 10, 1, [1, 2]),
        block(1500, 10, 1, [1, 2]),
        block(2000, 10, 1, [2, 1]),
        block(3000, 10, 1, [1]),
        block(4000, 10, 1, []),
    ]
    rows = read_trace(write(tmp_path / "t.jsonl.gz", "\n".join(lines)))

    assert [row.at for row in rows] == [0.0, 0.5, 1.0, 2.0, 3.0]
    assert rows[0].identity == rows[1].identity
    assert len({row.identity for row in rows}) == 4


GOOD = "0,1,2\n"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("t.csv", GOOD + "1,2\n", "line 2: a line has three columns .*, not 2; found: 1,2"),
        ("t.csv", GOOD + "1,2,3,4\n", "line 2: a line has three columns .*, not 4"),
        ("t.csv", GOOD + "soon,2,3\n", "line 2: the time must be an ISO date-time or seconds"),
        ("t.csv", GOOD + "nan,2,3\n", "line 2: the time must be finite"),
        ("t.csv", GOOD + "1,-2,3\n", "line 2: prompt tokens must be a whole number from 0 to"),
        ("t.csv", GOOD + "1,2,3.5\n", "line 2: completion tokens must be a whole number"),
        ("t.csv", GOOD + "1,1000001,3\n", "from 0 to 1,000,000; found: 1,1000001,3"),
        ("t.csv", GOOD + f"1,{'9' * 5000},3\n", r"found: 1,9+\.\.\.$"),
        ("t.csv", "", "holds no call"),
        ("t.csv", "time,prompt,completion\n", "holds no call"),
        ("t.csv", "time,prompt\n", "line 1: a line has three columns"),
        ("t.jsonl", "{", "line 1: a line must be a JSON object"),
        ("t.jsonl", "[1]", "line 1: a line must be a JSON object; found: "),
        ("t.jsonl", "[" * 100_000, "line 1: a line must be a JSON object"),
        ("t.jsonl", '{"timestamp": 1}', "line 1: .* input_length is missing"),
        ("t.jsonl", block(1, 2, 3, []).replace("[]", "7"), "line 1: hash_ids must be a list"),
        ("t.jsonl", block(1, -2, 3, []), "line 1: input_length must be a whole number"),
        ("t.jsonl", block(1, True, 3, []), "line 1: input_length must be a whole number"),
        ("t.jsonl", block(1, 2, 3, []).replace("1,", '"1",', 1), "timestamp must be a number"),
        ("t.jsonl", block(1, 2, 3, []).replace("1,", "1e999,", 1), "timestamp must be finite"),
        ("t.txt", GOOD, "ends in one of .csv, .csv.gz, .jsonl, .jsonl.gz"),
    ],
)
def test_a_bad_trace_is_refused_with_what_was_found_where(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    path = write(tmp_path / name, text)

    with pytest.raises(TraceError, match=complaint) as caught:
        read_trace(path)

    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(AZURE.encode())
    cases = {
        "foreign.csv.gz": b"not gzip at all",
        "cut.csv.gz": whole[:-12],
        "flipped.csv.gz": whole[:30] + bytes([whole[30] ^ 0xFF]) + whole[31:],
        "binary.csv": b"\xff\xfe\x00",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=f"{name}.*: "):
            read_trace(tmp_path / name)
    with pytest.raises(TraceError, match=r"missing\.csv: cannot be read: No such file\b"):
        read_trace(tmp_path / "missing.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "folder.csv")


def test_too_many_calls_and_endless_lines_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MAX_ROWS", 3)
    monkeypatch.setattr(trace, "MAX_LINE", 1000)

    assert len(read_trace(write(tmp_path / "three.csv", GOOD * 3))) == 3
    with pytest.raises(TraceError, match="more than 3 calls"):
        read_trace(write(tmp_path / "four.csv", GOOD * 4))
    with pytest.raises(TraceError, match="line 2: longer than 1,000 characters"):
        read_trace(write(tmp_path / "long.csv", GOOD + "1" * 1001))


def test_a_trace_is_compressed_to_fit_and_the_notes_say_so(tmp_path: Path) -> None:
    text = "".join(f"{second},{100 + second},{second}\n" for second in range(101))
    workload = trace_workload(write(tmp_path / "t.csv", text), seconds=10.0, max_rate=100.0, seed=1)

    assert [call.at for call in workload.plan] == pytest.approx([s / 10 for s in range(101)])
    assert workload.speed == pytest.approx(10.0)
    assert "all 101 calls" in workload.notes[0]
    assert "at 10.0 times its pace" in workload.notes[0]
    assert "Zipf law" in workload.notes[1]


def test_a_short_trace_keeps_its_pace(tmp_path: Path) -> None:
    workload = trace_workload(write(tmp_path / "t.csv", AZURE), seconds=60, max_rate=9, seed=1)

    assert [call.at for call in workload.plan] == pytest.approx([0.0, 2.0, 4.0])
    assert workload.speed == 1.0


def test_a_dense_trace_is_cut_after_its_first_part_and_the_notes_say_so(tmp_path: Path) -> None:
    text = "".join(f"{number / 10},1,1\n" for number in range(1000))
    workload = trace_workload(write(tmp_path / "t.csv", text), seconds=10, max_rate=5, seed=1)

    assert len(list(workload.plan)) == 50
    assert "the first 50 of 1,000 calls; 5 s run in 10 s, at 0.5 times" in workload.notes[0]
    assert workload.rate == pytest.approx(5.0)


def test_an_identity_is_as_long_as_when_first_seen(tmp_path: Path) -> None:
    lines = [block(0, 10, 1, [7]), block(1000, 99, 9, [7]), block(2000, 20, 2, [8])]
    workload = trace_workload(
        write(tmp_path / "t.jsonl", "\n".join(lines)), seconds=60, max_rate=9, seed=1
    )
    first, again, other = (call.question for call in workload.plan)

    assert first == again != other
    assert workload.shape(first) == Shape(10, 1)
    assert workload.shape(other) == Shape(20, 2)
    assert "hashes" in workload.notes[1]


def test_identities_of_a_csv_come_from_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "".join(f"{n},1,1\n" for n in range(500)))

    def questions(seed: int) -> list[str]:
        plan = trace_workload(path, seconds=60, max_rate=100, seed=seed).plan
        return [call.question for call in plan]

    assert questions(1) == questions(1) != questions(2)
    assert Counter(questions(1)).most_common(1)[0][1] > 20


@pytest.mark.parametrize(
    ("name", "calls", "repeats"),
    [
        ("AzureLLMInferenceTrace_conv.csv.gz", 19_366, None),
        ("synthetic_trace.jsonl.gz", 3_993, 213),
    ],
)
def test_published_traces_are_read_whole(name: str, calls: int, repeats: int | None) -> None:
    folder = os.environ.get("MILLPOND_TRACES")
    if folder is None:
        pytest.skip("MILLPOND_TRACES does not name a folder with the published LLM traces")
    rows = read_trace(Path(folder) / name)

    assert len(rows) == calls
    if repeats is not None:
        assert len(rows) - len({row.identity for row in rows}) == repeats
