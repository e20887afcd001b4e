"""Streaming of anything that FFmpeg decodes as mono samples at 16 kHz."""
