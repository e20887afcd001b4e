"""Cutting of answers into segments, which are spoken one by one."""
