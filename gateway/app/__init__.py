"""Assembles the service from the rooms below, starts, reloads and stops it."""
