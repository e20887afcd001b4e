"""Weights, operations, memory and hours of training, counted without making a model."""
