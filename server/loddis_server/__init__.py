"""Loddis."""
