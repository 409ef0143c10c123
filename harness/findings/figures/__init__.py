"""Figures, drawn from `report.json` or another committed file alone."""
