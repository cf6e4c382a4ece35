"""Schedules as data: how each group's tile program is cut, and why a choice is illegal."""
