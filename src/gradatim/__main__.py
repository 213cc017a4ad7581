"""`python -m gradatim`: the command line, for launchers such as `torchrun -m gradatim`."""

from gradatim.cli import script

if __name__ == "__main__":
    script()
