"""Completions of a prompt under conditions: one by one (`reference`), and sharing what is the same (`engine`)."""
