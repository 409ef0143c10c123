"""In a package of its own, because `evals/` has a module of the same name."""
