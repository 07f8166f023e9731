"""`python -m multigen` is the command `multigen`."""

from multigen.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
