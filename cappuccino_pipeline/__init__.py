"""Dagster: definitions, resources, partitions, assets, checks, schedules, sensors, jobs, command line."""
