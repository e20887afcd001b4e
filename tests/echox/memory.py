"""Memory that torch allocates on the CPU."""

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

MB = 1_000_000


def peak(work: Callable[[], object]) -> int:
    """The most bytes that `work` holds at once, of those that it allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results: Any = profiler.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
