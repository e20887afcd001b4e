"""Channel layouts that FFmpeg has no name for: the same channels in another order, from chunks of Apple's formats."""

import ctypes

from av.audio.layout import AudioLayout


def held(layout: AudioLayout) -> AudioLayout:
    """Return the layout, which is never freed if it lists its channels, not even when the process ends.

    PyAV 18 shares the list with FFmpeg and would free it a second time: the process crashes, sooner or later.
    """
    if listed_channels(layout) is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


def listed_channels(layout: AudioLayout) -> str | None:
    """Return the list of channels as FFmpeg reads it (`FC+FL+FR`); None if the layout has a name or no positions."""
    _, is_listed, channels = layout.name.partition(" channels (")
    return channels.removesuffix(")") if is_listed else None
