"""Memory that torch allocates on the CPU."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

MB = 1_000_000


def peak(work: Callable[[], object]) -> int:
    """The most bytes that `work` holds at once, of those that it allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
