"""`python -m img2loc`."""

from img2loc.cli import main

main()
