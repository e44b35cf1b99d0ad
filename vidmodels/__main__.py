"""`python -m vidmodels` is `vidmodels`."""

from vidmodels.cli import run_and_exit

run_and_exit()
