"""Do large batches of a teacher's fit cost accuracy on unseen objects, with the same number of triplets seen?

python -m bench.teacher_batches    writes bench/teacher_batches.csv; two minutes on two cores

1,854 objects x 768 invented features, 400,000 triplets of 1,500 of the objects, scored on 20,000 triplets of the rest;
in batches of 256, 1,024 and 4,096, and in batches of 4,096 on 256 principal axes.
"""

import dataclasses
import time
from pathlib import Path

import pandas as pd
import torch

from alignet import config
from alignet.teacher import affine_map
from bench.tasks.teacher import BATCH, OBJECTS, STEPS, invented, judgements

TRIPLETS, SEEN, HELD_OUT = 400_000, 1500, 20_000


def main() -> None:
    features = invented()
    train, unseen = judgements(features, TRIPLETS, 0, SEEN), judgements(features, HELD_OUT, SEEN, OBJECTS)
    settings = dataclasses.replace(config.load("teacher", config.Teacher), local_weight=0.0, pca=None)
    ways, rows = [(256, None), (1024, None), (BATCH, None), (BATCH, 256)], []
    for batch, axes in ways:
        chosen = dataclasses.replace(settings, batch_size=batch, steps=STEPS * BATCH // batch, pca=axes)
        start = time.perf_counter()
        affine = affine_map.fit(features, train, chosen)
        row = {"batch": batch, "principal_axes": axes, "steps": chosen.steps, "seconds": time.perf_counter() - start}
        found = affine_map.scores(affine, features, unseen, chosen)
        rows.append(row | {name: found[name] for name in ("kl", "odd_one_out_accuracy", "target_accuracy")})
    table = pd.DataFrame(rows)
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.5g")
    print(f"{torch.get_num_threads()} threads\n{table.round(4).to_string(index=False)}")


if __name__ == "__main__":
    main()
