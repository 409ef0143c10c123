"""What is done to heads: hooks that replace their output, what comes instead, and weights cut out as the oracle."""
