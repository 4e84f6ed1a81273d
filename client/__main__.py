"""`python -m client`: the same as the command `tickless`."""

from client.cli import main

main()
