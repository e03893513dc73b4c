"""Fit one student in the processes that are there.

Several devices: torchrun --nproc-per-node N -m alignet.student --name NAME --target TARGET
"""

import argparse

from alignet import devices
from alignet.student.jobs import Job, train


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.student", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--params-file", default="params.yaml")
    parser.add_argument("--out-dir", default=".")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    with devices.process_group():
        train(Job(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
