"""Gates: what a verdict rests on, the rule, the checks before it, and a simulation of how often it errs."""
