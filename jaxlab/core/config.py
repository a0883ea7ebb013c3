"""Configurations: frozen dataclasses whose fields are the flags of an experiment."""

from typing import Any

__all__ = ["fields"]


def fields(config: Any, *names: str) -> dict[str, Any]:
    """Give some fields by name, to pass on as keywords."""
    return {name: getattr(config, name) for name in names}
