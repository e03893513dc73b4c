"""Backbones: their weights, their features, what they share with a fine-tuned copy, and models in other formats."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alignet.models.exported import load as load


def __getattr__(name: str) -> Any:
    """`alignet.models.load`, without the import of torch for those who need something else."""
    if name == "load":
        from alignet.models import exported

        return exported.load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
