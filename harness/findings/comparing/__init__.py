"""Two reports side by side, and the checks that fail where they differ."""
