"""How many of a thing, in words: `1 row`, `2 rows`, `1,061 rows`. Knows nothing of what is counted."""


def counted(n: int, thing: str) -> str:
    """The number and the thing, which takes an s unless there is one of it."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")
