"""The 92 objects of Mur et al. (2013): the files of rsatoolbox (demos/92imageData), and the pictures in one of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from alignet.worlds.format.tables import WorldError

PEOPLE, PICTURES = "92_behavRDMs.mat", "Kriegeskorte_Neuron2008_supplementalData.mat"


def extract(folder: Path) -> list[Path]:
    """Write the 92 pictures of the file PICTURES as PNG to the folder `pictures` beside it; return their paths.

    A picture is named by its place and its category, as in 13-human-face.png.
    Raises: WorldError naming the file if it does not exist or holds no pictures.
    """
    objects = matlab(folder / PICTURES, "stimuli_92objs").ravel()
    (folder / "pictures").mkdir(exist_ok=True)
    paths = []
    for number, shown in enumerate(objects, 1):
        try:
            picture, category = np.asarray(shown["image"], np.uint8), str(shown["category"].item())
        except (ValueError, IndexError, KeyError, TypeError):
            raise WorldError(f"{folder / PICTURES}: stimuli_92objs has no image and category for each") from None
        path = folder / "pictures" / f"{number:02d}-{category.replace(' ', '-')}.png"
        Image.fromarray(picture).save(path)
        paths.append(path)
    return paths


def matlab(file: Path, name: str) -> Any:
    """The variable of a MATLAB file (not of version 7.3) whose name holds `name`."""
    if not file.is_file():
        raise WorldError(f"{file}: no such file")
    try:
        variables = loadmat(file)
    except (NotImplementedError, ValueError, TypeError, MatReadError) as error:
        raise WorldError(f"{file}: cannot be read as a MATLAB file ({error})") from None
    fitting = [key for key in variables if name.lower() in key.lower() and not key.startswith("__")]
    if not fitting:
        raise WorldError(f"{file}: has no variable {name}")
    return variables[fitting[-1]]
