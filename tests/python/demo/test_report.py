"""The report's figures against brute force, and how they are written and drawn."""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from millpond.cli.demo import report as report_module
from millpond.cli.demo.answer import Answer, TokenUsage
from millpond.cli.demo.live import MIN_HEIGHT, MIN_WIDTH, draw, resample, save_picture
from millpond.cli.demo.pricing import Pricer
from millpond.cli.demo.report import TIMELINE_BINS, Outcome, Report, Setting, Tally
from millpond.cli.demo.text import dollars, duration, progress_line, report_lines

SETTING = Setting(
    planned_seconds=60.0,
    kind="zipf",
    notes=("Made up by a test.", "Nothing else is."),
    provider="a local process",
    model="gpt-4.1-mini",
    speed=4.0,
    rate=40.0,
    seed=1,
)


@dataclass(frozen=True)
class Event:
    question: str
    outcome: Outcome
    answer: Answer
    seconds: float
    at: float


def answer(price: float | None = 0.01, seconds: float = 1.0, tokens: int = 10) -> Answer:
    return Answer("text", TokenUsage(tokens, 2 * tokens), price, seconds, 0.0, 0)


def events(count: int, seed: int) -> list[Event]:
    random = Random(seed)
    return [
        Event(
            question=f"question {int(random.paretovariate(1.0))}",
            outcome=random.choice(list(Outcome)),
            answer=answer(random.random(), random.expovariate(1.0), random.randrange(1000)),
            seconds=random.expovariate(10.0),
            at=random.uniform(0.0, 60.0),
        )
        for _ in range(count)
    ]


def tally(happened: list[Event]) -> Tally:
    result = Tally(SETTING)
    for event in happened:
        result.add(
            question=event.question,
            outcome=event.outcome,
            answer=event.answer,
            seconds=event.seconds,
            at=event.at,
        )
    return result


def small_report(**changes: object) -> Report:
    result = tally(events(50, 4))
    options: dict[str, object] = {"elapsed": 30.0, **changes}
    return result.report(**options)  # type: ignore[arg-type]


def exact_quantile(values: list[float], probability: float) -> float:
    return sorted(values)[max(1, math.ceil(probability * len(values))) - 1]


def screen(report: Report, width: int, height: int, *, encoding: str = "utf-8") -> list[str]:
    """The lines that a terminal of this encoding is sent; what it cannot show is an error."""
    sent = io.BytesIO()
    file = io.TextIOWrapper(sent, encoding=encoding)
    console = Console(file=file, width=width, color_system=None)
    ascii_only = console.options.ascii_only
    console.print(draw(report, width=width, height=height, ascii_only=ascii_only))
    file.flush()
    return sent.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_brute_force(seed: int) -> None:
    happened = events(400, seed)
    report = tally(happened).report(elapsed=60.0, ended="time", unfinished=3, top=5)
    paid = [event for event in happened if event.outcome is Outcome.MISS]
    free = [event for event in happened if event.outcome is not Outcome.MISS]
    hits = [event for event in happened if event.outcome is Outcome.HIT]

    assert (report.calls, report.unfinished, report.failed) == (403, 3, 0)
    assert (report.hits, report.misses) == (len(hits), len(paid))
    assert report.coalesced == 400 - len(hits) - len(paid)
    assert report.hit_rate == len(hits) / 400
    assert report.calls_avoided == len(free)
    assert report.avoided_rate == len(free) / 400
    assert report.dollars_spent == pytest.approx(sum(e.answer.dollars or 0 for e in paid))
    assert report.dollars_saved == pytest.approx(sum(e.answer.dollars or 0 for e in free))
    assert report.prompt_tokens_paid == sum(e.answer.usage.prompt_tokens for e in paid)
    assert report.completion_tokens_paid == sum(e.answer.usage.completion_tokens for e in paid)
    for name, probability in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert getattr(report.with_cache, name) == pytest.approx(
            exact_quantile([e.seconds for e in happened], probability), rel=0.0101
        )
        assert getattr(report.without_cache, name) == pytest.approx(
            exact_quantile([e.answer.seconds for e in happened], probability), rel=0.0101
        )
    assert report.hit_p50 == pytest.approx(
        exact_quantile([e.seconds for e in hits], 0.5), rel=0.0101
    )


def test_the_top_questions_are_counted_with_what_was_paid() -> None:
    happened = events(400, 9)
    report = tally(happened).report(elapsed=60.0, top=3)
    names = {event.question for event in happened}
    counts = sorted((-sum(e.question == name for e in happened), name) for name in names)

    assert [(-count.calls, count.question) for count in report.top] == counts[:3]
    for count in report.top:
        assert count.paid == sum(
            e.question == count.question and e.outcome is Outcome.MISS for e in happened
        )


def test_the_timeline_is_the_share_of_avoided_calls_in_each_part() -> None:
    width = 60.0 / TIMELINE_BINS
    happened = [
        Event("a", Outcome.MISS, answer(), 1.0, 0.0),
        Event("a", Outcome.HIT, answer(), 0.0, 0.9 * width),
        Event("a", Outcome.COALESCED, answer(), 0.0, 1.1 * width),
        Event("a", Outcome.HIT, answer(), 0.0, 61.0),
    ]
    timeline = tally(happened).report(elapsed=60.0).timeline

    assert (timeline[0], timeline[1], timeline[-1]) == (0.5, 1.0, 1.0)
    assert set(timeline[2:-1]) == {None}


def test_the_rarest_questions_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report_module, "MAX_QUESTIONS", 10)
    often = [Event("often", Outcome.HIT, answer(), 0.0, 0.0)] * 2
    rare = [Event(f"rare {number}", Outcome.HIT, answer(), 0.0, 0.0) for number in range(100)]
    top = tally(often + rare).report(elapsed=1.0, top=100).top

    assert (top[0].question, top[0].calls) == ("often", 2)
    assert len(top) <= 10


def test_an_unknown_price_makes_the_sums_unknown() -> None:
    happened = [
        Event("a", Outcome.MISS, answer(0.5), 1.0, 0.0),
        Event("b", Outcome.MISS, answer(None), 1.0, 0.0),
    ]
    report = tally(happened).report(elapsed=1.0)

    assert (report.dollars_spent, report.dollars_saved) == (None, None)
    assert report.as_json()["dollars_spent"] is None
    assert any("spent unknown, saved unknown" in line for line in report_lines(report))
    assert "saved unknown" in "\n".join(screen(report, 80, 24))


def test_without_a_call_there_is_a_report_all_the_same() -> None:
    report = Tally(SETTING).report(elapsed=0.0, ended="interrupted")

    assert (report.hit_rate, report.with_cache.p50, report.top) == (0.0, None, ())
    assert "ended early by Ctrl-C" in next(report_lines(report))
    assert len(screen(report, 80, 24)) == 24


def test_failures_are_told_with_the_last_error() -> None:
    result = tally(events(10, 1))
    result.fail(TimeoutError("too slow"))
    report = result.report(elapsed=1.0)
    text = "\n".join(report_lines(report))

    assert (report.failed, report.calls) == (1, 11)
    assert "1 failed, 0 still open" in text
    assert "TimeoutError: too slow" in text


def test_json_is_plain_and_says_what_is_only_reckoned() -> None:
    values = json.loads(json.dumps(small_report(engine={"hits": 3}).as_json(), allow_nan=False))

    assert values["engine"] == {"hits": 3}
    assert values["setting"]["notes"] == list(SETTING.notes)
    assert "as long as the provider took" in values["without_cache"]["basis"]
    assert "timeline" not in values


def test_report_lines_keep_to_the_width_and_tell_every_note() -> None:
    report = small_report()
    lines = list(report_lines(report, width=60))

    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()).count(" ".join(SETTING.notes)) == 1


def test_a_progress_line_is_ascii_and_says_the_money() -> None:
    line = progress_line(small_report())

    assert line.isascii()
    assert "spent $" in line


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "-"),
        (0.0, "0 ns"),
        (9.99e-7, "999 ns"),
        (9.996e-7, "1.00 us"),
        (0.000_123_4, "123 us"),
        (0.099_96, "100 ms"),
        (0.012_34, "12.3 ms"),
        (0.999_6, "1.00 s"),
        (61.23, "61.2 s"),
        (1234.0, "1,234 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds: float | None, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [(None, "unknown"), (0.0, "$0.00"), (0.01234, "$0.0123"), (1.0, "$1.00"), (9e3, "$9,000.00")],
)
def test_small_sums_have_more_digits(amount: float | None, written: str) -> None:
    assert dollars(amount) == written


@pytest.mark.parametrize("width", [MIN_WIDTH, 80, 81, 140, 300])
@pytest.mark.parametrize("height", [MIN_HEIGHT, 24, 40])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_screen_fills_the_terminal_exactly(width: int, height: int, encoding: str) -> None:
    lines = screen(small_report(top=60), width, height, encoding=encoding)

    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_the_screen_shows_the_figures_of_the_report() -> None:
    report = small_report()
    text = "\n".join(screen(report, 80, 24))

    for figure in (
        f"{report.hits:,}",
        dollars(report.dollars_saved),
        duration(report.with_cache.p95),
        report.top[0].question,
        "30 of 60 s",
    ):
        assert figure in text


def test_columns_are_means_of_their_parts() -> None:
    assert resample([0.0, 1.0, None, None], 2) == [0.5, None]
    assert resample([0.25, None], 4) == [0.25, 0.25, None, None]
    assert resample([None, 0.5, 1.0], 1) == [0.75]


def test_the_picture_is_small_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    save_picture(small_report(), tmp_path / "demo.svg")
    picture = (tmp_path / "demo.svg").read_text(encoding="utf-8")

    assert picture.startswith("<svg")
    assert len(picture.encode()) < 60_000
    assert str(tmp_path.parent) not in picture
    assert "url(http" not in picture


def test_prices_come_from_the_token_usage() -> None:
    pricer = Pricer("gpt-4.1-mini")
    one = pricer.dollars(TokenUsage(1000, 0))
    other = pricer.dollars(TokenUsage(0, 1000))
    both = pricer.dollars(TokenUsage(1000, 1000))
    cached = pricer.dollars(TokenUsage(1000, 1000, cached_tokens=800))

    assert pricer.known
    assert one is not None
    assert other is not None
    assert cached is not None
    assert both == pytest.approx(one + other)
    assert 0 < cached < one + other


def test_an_unknown_model_or_address_has_no_price() -> None:
    assert not Pricer("no-such-model").known
    assert not Pricer("gpt-4.1-mini", api_url="http://127.0.0.1:9/v1").known
    assert Pricer("gpt-4.1-mini", api_url="https://api.openai.com/v1/").known
