"""The page: a report to look at in a browser."""
