"""Scores for every head, by several published methods, and the ranking that they give."""
