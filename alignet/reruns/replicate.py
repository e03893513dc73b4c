"""Run teacher, synthesis and students again with other seeds: python -m alignet.reruns.replicate [--seeds 1 2 3 4]

The finished run counts as the replicate of its own seed. Each other seed has a folder data/replicates/seed_<n>
(`variants`). Writes reports/tables/replicates.csv and seeds.csv, and reports/variants/seeds.* and seeds_over_control.*.
"""

import argparse
import sys
from pathlib import Path

from alignet import config, results
from alignet.evaluation import benchmarks, seeds
from alignet.figures import seeds as figures
from alignet.figures import style
from alignet.reruns import variants

EVALUATION = ("07_levels", "08_similarity", "10_downstream")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet replicate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4], help="beside the run's own")
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    return variants.told(lambda: replicate(wanted.seeds, wanted.params_file, wanted.out_dir))


def replicate(others: list[int], params_file: str, out_dir: str) -> None:
    """Run the seeds that are missing, then collect and draw all.

    Raises: ValueError if the run is not finished or a seed is its own; CalledProcessError naming a stage that failed.
    """
    data, reports = config.folders(out_dir)
    own = int(config.value("teacher.seed", params_file))
    missing = [stage for stage in benchmarks.STAGES if not (reports / "tables" / f"{stage}.csv").is_file()]
    if missing:
        raise ValueError(f"{reports / 'tables'}: has no {', '.join(missing)}: finish the run first (make repro)")
    if own in others:
        raise ValueError(f"--seeds: {own} is the run's own seed (teacher.seed in {params_file})")
    runs = {own: data.parent}
    for seed in others:
        runs[seed] = data / "replicates" / f"seed_{seed}"
        variants.run(variant(seed, params_file, runs[seed]), params_file, out_dir)
    scores, influences = seeds.collect(runs)
    summary = seeds.summary(scores, influences)
    results.save(scores, reports / "tables" / "replicates.csv")
    results.save(summary, reports / "tables" / "seeds.csv")
    style.use()
    plotted = figures.plotted(summary, scores)
    people = results.load(reports / "tables" / "levels.csv")
    style.save(figures.by_level(summary, scores, people), reports / "variants" / "seeds", plotted)
    style.save(figures.over_control(summary), reports / "variants" / "seeds_over_control", summary)
    print(f"{len(runs)} seeds: {reports / 'tables' / 'seeds.csv'}, {reports / 'variants' / 'seeds.png'}")


def variant(seed: int, params_file: str, place: Path) -> variants.Variant:
    """The run with another seed of teacher, synthesis and students."""
    students = {name: {"seed": seed} for name in config.names("students", params_file)}
    changes = {"teacher": {"seed": seed}, "synthesis": {"seed": seed}, "students": students}
    return variants.Variant(place, changes, EVALUATION)


if __name__ == "__main__":
    sys.exit(main())
