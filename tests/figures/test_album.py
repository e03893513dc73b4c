import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from alignet.figures import style
from alignet.figures.album import Album

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="figures are saved by forked processes on Linux only")


def drawn(number):
    figure, ax = plt.subplots(layout="constrained")
    ax.plot([0, number])
    ax.set_title(f"figure {number}")
    return figure


@pytest.mark.parametrize("processes", [1, 2])
def test_the_files_are_those_that_one_process_writes(tmp_path, processes):
    table = pd.DataFrame({"x": [1 / 3]})
    album = Album(tmp_path / "album", processes)
    with plt.rc_context():
        style.use()
        for number in range(4):
            album.save(drawn(number), f"plot{number}", table)
            style.save(drawn(number), tmp_path / "alone" / f"plot{number}", table)
        album.close()
        plt.close("all")
    files = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert len(files) == 16
    assert files == sorted(path.name for path in (tmp_path / "album").iterdir())
    for name in files:
        assert (tmp_path / "album" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


@only_linux
def test_of_two_figures_with_one_name_the_later_one_is_kept(tmp_path):
    slow = pd.DataFrame({"x": range(400_000)})  # written after the table of the later one, if that did not wait
    album = Album(tmp_path, 2)
    album.save(drawn(1), "plot", slow)
    album.save(drawn(2), "plot", pd.DataFrame({"x": [7]}))
    album.close()
    plt.close("all")
    assert pd.read_csv(tmp_path / "plot.csv")["x"].tolist() == [7]


@only_linux
def test_a_figure_that_cannot_be_saved_is_named(tmp_path, capfd):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "broken.pdf").mkdir()
    album = Album(tmp_path / "album", 2)
    album.save(drawn(1), "broken")
    album.save(drawn(2), "whole")
    with pytest.raises(RuntimeError, match=r"figure broken was not saved"):
        album.close()
    album.close()
    plt.close("all")
    assert "IsADirectoryError" in capfd.readouterr().err
    assert (tmp_path / "album" / "whole.svg").is_file()
