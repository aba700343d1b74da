"""`ReadLock`: a lock that threads wait for as for any other."""

from __future__ import annotations

import threading

import pytest

from millpond._engine import ReadLock


def test_one_thread_at_a_time_has_it() -> None:
    lock, inside, most = ReadLock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(2000):
            with lock:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert inside == 0


def test_who_waits_gets_it_when_it_is_given_back() -> None:
    lock = ReadLock()
    assert lock.acquire()
    got = threading.Event()

    def wait() -> None:
        with lock:
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.is_set()
    lock.release()
    assert got.wait(10)
    thread.join()


def test_a_wait_ends_with_its_time() -> None:
    lock = ReadLock()
    assert lock.acquire(0)
    assert not lock.acquire(0)
    assert not lock.acquire(0.01)
    assert not lock.acquire(-5)
    lock.release()
    assert lock.acquire(float("inf"))


def test_what_nobody_has_taken_is_not_given_back() -> None:
    with pytest.raises(RuntimeError):
        ReadLock().release()


def test_a_lock_may_go_while_it_is_taken() -> None:
    lock = ReadLock()
    lock.acquire()
    del lock
