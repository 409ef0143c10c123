"""pytest's face, seen from outside: each test is a user's run of pytest in a small project of its own."""
