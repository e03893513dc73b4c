"""What aligned models are scored on: Levels, uncertainty, similarity, reorganisation, downstream tasks and cost."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alignet.evaluation.scoring import score as score


def __getattr__(name: str) -> Any:
    """`alignet.evaluation.score`, without the import of all benchmarks for those who need one."""
    if name == "score":
        from alignet.evaluation import scoring

        return scoring.score
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
