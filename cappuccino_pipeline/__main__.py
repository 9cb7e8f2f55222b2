"""`python -m cappuccino_pipeline` is the same as the command `cappuccino`."""

from cappuccino_pipeline.cli import main

main()
