"""The thread that finds out whether a tier that was out is back, so that no caller has to."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final, final

from millpond.errors import TierError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.threads import begin
from millpond.io.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.cache.stage import Stage

_log = logging.getLogger("millpond.tiers")
_SECONDS: Final = 0.25  # that a probe may take


@final
class Prober:
    """Probes the tiers that are out, asks replicas for what is unconfirmed, and ends when there is
    neither.

    Args:
        stages: the tiers.
        returned: called with a stage whose tier answers again, before callers are let through;
            what it raises counts as a failed probe.
    """

    def __init__(self, stages: Sequence[Stage], returned: Callable[[Stage, Deadline], Any]) -> None:
        self._stages = tuple(stages)
        self._returned = returned
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Begin anew; also in the child of a fork, where the thread is not."""
        self._lock = threading.Lock()
        self._wake = Wake()
        self._thread: threading.Thread | None = None
        self._stop = False

    def start(self) -> bool:
        """Begin, unless it has begun already. Called whenever a tier is found to be out.

        False where the process may have no more threads: try it again.
        """
        with self._lock:
            self._stop = False
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = begin("millpond-prober", self._run)
            return self._thread is not None

    def resume(self) -> bool:
        """Begin if there is something to do already: as in the child of a fork, whose parent's
        thread probes for the parent alone, and in an Engine that is used again after its close."""
        out = any(stage.monitor.probe_in() is not None for stage in self._stages)
        if out or any(stage.unconfirmed for stage in self._stages):
            return self.start()
        return True

    def close(self) -> None:
        """End it."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop = True
        self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(2 * _SECONDS)

    def _run(self) -> None:
        while not self._stop:
            self._wake.clear()
            due = [stage.monitor.probe_in() for stage in self._stages]
            unsure = [(one, one.unconfirmed) for one in self._stages if one.unconfirmed is not None]
            asks = [(stage, these, these.due_in()) for stage, these in unsure]
            waits = [
                seconds for seconds in (*due, *(ask[2] for ask in asks)) if seconds is not None
            ]
            if not waits:
                with self._lock:
                    if not self._wake.is_set():
                        self._thread = None
                        return
                continue
            if min(waits) > 0:
                self._wake.wait(min(waits))
                continue
            for stage, seconds in zip(self._stages, due, strict=True):
                if seconds == 0.0 and not self._stop:
                    self._probe(stage)
            for stage, unconfirmed, seconds in asks:
                if seconds == 0.0 and not self._stop:
                    unconfirmed.attempt(stage)

    def _probe(self, stage: Stage) -> None:
        probe = stage.monitor.begin_probe()
        if probe is None:
            return
        kind, ticket = probe
        try:
            deadline = Deadline.after(min(_SECONDS, stage.tier.timeout * 4))
            if kind == "write":
                stage.tier.bump(["0" * 32], deadline)
            else:
                stage.tier.fetch([], ["0" * 32], deadline)
            self._returned(stage, deadline)
        except TierError as error:
            stage.monitor.end_probe(ticket, error.kind)
        except Exception:  # noqa: BLE001 (a user's own tier may raise anything)
            _log.exception("%s: a probe failed", stage.tier.name)
            stage.monitor.end_probe(ticket, "damaged")
        else:
            said = stage.monitor.end_probe(ticket)
            if said is not None:
                what = "is back" if said == "closed" else "has room again"
                _log.warning("%s %s", stage.tier.name, what)
