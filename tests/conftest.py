"""Every process of the tests computes on one thread: two of them share the cores (make test-all)."""

import os

import pytest

# Before torch and numba are imported. numba's own threads raise torch's number of threads to theirs where both are
# loaded, and small operations on more threads than there are idle cores take a hundred times as long.
for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

os.environ.pop("ALIGNET_HOME", None)  # the tests' home is the checkout, or a copy of it

collect_ignore = [] if os.environ.get("ALIGNET_BROWSER") else ["browser"]  # `make test-browser`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups that one process runs in order (make test-all: --dist loadgroup) start first: they take longest."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
