"""Tiers behind the memory: what a tier is (`base`), and one file for each that millpond brings."""
