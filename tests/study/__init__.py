"""Tests of one study: its inputs, run, session and outcome."""
