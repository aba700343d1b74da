"""Sets a run up: the workload, the provider, the client, Ctrl-C; and tears it down again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from millpond.cli.demo.completions import MODELS
from millpond.cli.demo.pricing import Pricer
from millpond.cli.demo.process import LocalProvider, local_provider
from millpond.cli.demo.report import Report, Setting
from millpond.cli.demo.runner import Run
from millpond.cli.demo.service import make_ask, make_real_ask
from millpond.cli.demo.settings import Settings
from millpond.cli.demo.trace import trace_workload
from millpond.cli.demo.traffic import Workload, help_line_workload
from millpond.cli.demo.views import View, choose_view
from millpond.cli.failure import CommandError
from millpond.errors import bad_option

DRAIN_SHARE = 0.08  # The last part of the time has no new calls: those under way may end.


def run_demo(settings: Settings) -> int:
    """Run the demo to its end and return the exit code.

    Raises:
        CommandError: The options, the trace or the provider are no good, or no call succeeds.
    """
    _check(settings)
    workload = make_workload(settings)
    view = choose_view(settings)
    report = asyncio.run(_run(settings, workload, view))
    view.finish(report)
    if settings.svg is not None:
        _save_picture(report, settings.svg)
    return 0


def make_workload(settings: Settings) -> Workload:
    """Return the calls to make."""
    seconds = settings.seconds * (1 - DRAIN_SHARE)
    if settings.trace is not None:
        return trace_workload(
            settings.trace, seconds=seconds, max_rate=settings.call_rate, seed=settings.seed
        )
    return help_line_workload(
        seconds=seconds,
        rate=settings.call_rate,
        seed=settings.seed,
        speed=settings.provider_speed,
    )


def _check(settings: Settings) -> None:
    """Refuse what could not end well, before anything starts; warn of the cost of a real run."""
    if settings.svg is not None and not settings.svg.absolute().parent.is_dir():
        raise bad_option("--svg", str(settings.svg), "a file in a folder that exists")
    if not settings.real:
        if settings.model not in MODELS:
            raise bad_option(
                "--model", settings.model, f"one that the local provider plays: {', '.join(MODELS)}"
            )
        return
    if settings.shares:
        raise CommandError("--real calls from one process; leave --redis and --workers away")
    if settings.trace is not None:
        raise CommandError("--real asks the demo's own questions; leave --trace away")
    if not os.environ.get("OPENAI_API_KEY"):
        raise CommandError("--real needs the key of your account in OPENAI_API_KEY")
    print(
        f"millpond demo: --real calls the real API and COSTS MONEY: model {settings.model}, about "
        f"{settings.call_rate:g} calls a second for {settings.seconds:g} s, ended at "
        f"${settings.budget:g} or by Ctrl-C.",
        file=sys.stderr,
        flush=True,
    )


async def _run(settings: Settings, workload: Workload, view: View) -> Report:
    stop = asyncio.Event()
    with interrupts_set(stop):
        if settings.real:
            return await _run_real(settings, workload, view, stop)
        if settings.shares:
            from millpond.cli.demo.fleet import run_shared

            return await run_shared(settings, workload, view, stop)
        return await _run_local(settings, workload, view, stop)


async def _run_local(
    settings: Settings, workload: Workload, view: View, stop: asyncio.Event
) -> Report:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    speed = settings.speed or workload.speed
    pricer = Pricer(settings.model)
    async with local_provider(seed=settings.seed, speed=speed) as provider:
        # A proxy named in the environment must not see what goes to loopback.
        transport = DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(
            base_url=provider.url, api_key="local", http_client=transport
        ) as client:
            ask = make_ask(client, workload, model=settings.model, pricer=pricer)
            about = f"a local process, sped up {speed:.3g} times"
            setting = make_setting(settings, workload, about, speed)
            run = Run(setting, workload, ask, view, stop=stop)
            return await run.to_end(provider_death(provider))


async def _run_real(
    settings: Settings, workload: Workload, view: View, stop: asyncio.Event
) -> Report:
    from openai import AsyncOpenAI

    async with AsyncOpenAI() as client:
        pricer = Pricer(settings.model, api_url=str(client.base_url))
        if not pricer.known:
            print(
                f"millpond demo: the price of {settings.model} at {client.base_url} is unknown: "
                "--budget cannot end this run",
                file=sys.stderr,
            )
        ask = make_real_ask(client, model=settings.model, pricer=pricer)
        setting = make_setting(settings, workload, f"the real API at {client.base_url}", 1.0)
        budget = settings.budget if pricer.known else None
        return await Run(setting, workload, ask, view, stop=stop, budget=budget).to_end()


async def provider_death(provider: LocalProvider) -> str:
    """Wait until the provider ends, which ends the run.

    Raises:
        CommandError: It has ended.
    """
    code = await provider.died()
    raise CommandError(f"the local provider ended in the middle of the run, exit code {code}")


def make_setting(settings: Settings, workload: Workload, provider: str, speed: float) -> Setting:
    """Return what the report says was run."""
    return Setting(
        planned_seconds=settings.seconds,
        kind=workload.kind,
        notes=workload.notes,
        provider=provider,
        model=settings.model,
        speed=speed,
        rate=workload.rate,
        seed=settings.seed,
    )


@contextmanager
def interrupts_set(stop: asyncio.Event) -> Generator[None]:
    """Let Ctrl-C (or SIGTERM) set `stop`, and the second one raise KeyboardInterrupt as usual."""
    loop = asyncio.get_running_loop()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if stopping:
            raise KeyboardInterrupt
        stopping.append(signum)
        loop.call_soon_threadsafe(stop.set)

    stopping: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save_picture(report: Report, path: Path) -> None:
    from millpond.cli.demo.live import save_picture

    try:
        save_picture(report, path)
    except OSError as error:
        raise CommandError(f"the picture cannot be written: {error}") from error
