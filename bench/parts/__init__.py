"""Shared parts of the benchmarks: servers, load, vendors, tables."""
