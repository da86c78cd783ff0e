"""Metrics, scenarios, and guessing the task."""
