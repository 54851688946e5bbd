"""`python -m mass3d`, and what torchrun starts with `-m mass3d`."""

from mass3d.cli import main

main()
