"""Tests of the commands, through `main(argv)`."""
