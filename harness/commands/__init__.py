"""The commands of `retrieval-heads`, one a module: `HELP`, `add_arguments(parser)` and `run(arguments)`."""
