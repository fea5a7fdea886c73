"""Wires the rooms, starts, reloads, stops. The only room that knows all the others."""
