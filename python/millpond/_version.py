"""Which millpond this is."""


def installed_version() -> str:
    """Return the installed version; looked up only when asked, as the metadata are slow to read."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("millpond")
    except PackageNotFoundError:  # Run from a source tree that was never installed.
        return "(not installed)"
