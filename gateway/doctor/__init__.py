"""Checks a running installation from outside; reports what is wrong and how to fix it."""

from gateway.doctor.context import Options
from gateway.doctor.examination import examine
from gateway.doctor.finding import Finding

__all__ = ["Finding", "Options", "examine"]
