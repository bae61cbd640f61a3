"""Plots of a result as SVG: pure functions from numbers to markup, without script, style sheet or anything to load."""
