"""Fit one student in the processes that are there.

Several devices: torchrun --nproc-per-node N -m alignet.student --name NAME --target TARGET
"""

import argparse

from alignet import config, devices
from alignet.student.jobs import Job, train


def resolved(chosen: argparse.Namespace) -> Job:
    """The job of a student by its name in the params file."""
    name, params_file = chosen.name, chosen.params_file
    return Job(
        name=name,
        target=chosen.target,
        settings=config.load(f"students.{name}", config.Student, params_file, lr=chosen.lr, steps=chosen.steps),
        backbone=config.load(f"backbones.{name}", config.Backbone, params_file),
        reading=config.load("features", config.Features, params_file),
        styles=config.value("synthesis.styles", params_file),
        data=config.folders(chosen.out_dir)[0],
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.student", description=__doc__)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--name", help="of the student in the params file")
    wanted.add_argument("--job", help="a job as JSON, as alignet.student.jobs.run hands it over")
    parser.add_argument("--target", help="with --name: one of run.targets")
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    chosen = parser.parse_args(arguments)
    if chosen.job:
        config.refuse_beside(parser, chosen, "--job", "target", "params_file", "out_dir", "lr", "steps")
    if chosen.name and not chosen.target:
        parser.error("give --target beside --name")
    with devices.process_group():
        train(devices.handed_over(chosen.job, Job) if chosen.job else resolved(chosen))


if __name__ == "__main__":
    main()
