"""Anything FFmpeg decodes to 16 kHz mono, streaming."""
