"""millpond: caching, sessions, metrics and health for Python services that call AI models."""
