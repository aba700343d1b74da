"""Profiles of Hypothesis: with `--hypothesis-profile=slow` it tries more where it may."""

from hypothesis import settings

settings.register_profile("slow", max_examples=5_000)
