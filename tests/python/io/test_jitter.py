import random

from millpond.io.jitter import jittered


def test_pauses_differ_and_keep_their_bounds() -> None:
    half = {jittered(2.0) for _ in range(1000)}
    assert 1.0 <= min(half) < 1.1
    assert 1.9 < max(half) <= 2.0
    full = {jittered(2.0, least=0.0) for _ in range(1000)}
    assert 0.0 <= min(full) < 0.1
    assert 1.9 < max(full) <= 2.0


def test_the_numbers_that_a_program_has_seeded_are_left_to_it() -> None:
    random.seed(7)
    alone = [random.random() for _ in range(3)]
    random.seed(7)
    assert [(jittered(1.0), random.random())[1] for _ in range(3)] == alone
