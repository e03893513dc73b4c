"""Download public data.

python -m alignet.worlds.fetch things [--from FOLDER] [--pictures FOLDER] [--all] [--accept-terms]
python -m alignet.worlds.fetch things-osf | things48 | levels | mur92 | alignet-release [FILE ...] | imagenet

things: real people's choices and the photographs that they saw, 170 MB, from which a world is made at once
(`things/world.py`). With --from, nothing is downloaded, and the files are copied from folders on disk.

Files go to data/external/. An interrupted download resumes where it stopped; `downloads` has the rest.
"""

import argparse
import shlex
import sys
from pathlib import Path

from alignet.config import home
from alignet.worlds import mur92
from alignet.worlds.downloads import RAW, FetchError, File, Pictures, fetch, sha256, taken
from alignet.worlds.format.tables import WorldError
from alignet.worlds.things import concepts as things_concepts
from alignet.worlds.things import world as things_world

RELEASE = "https://storage.googleapis.com/alignet/data/release_1.1/"
PAGES = {
    "things": "https://things-initiative.org and the other pages in docs/world.md",
    "things-osf": "https://osf.io/f5rn6 (choices) and https://osf.io/jum2f (concepts and pictures)",
    "levels": "https://gin.g-node.org/fborn/Dataset_Levels",
    "mur92": "https://github.com/rsagroup/rsatoolbox",
    "things48": "https://github.com/marrenj/cvpr_perturbations",
    "alignet-release": f"{RELEASE}index.html",
    "imagenet": "https://image-net.org/download-images",
}
DEFAULT_RELEASE = [f"uncertainty_distillation/{split}_cluster_border_500.npz" for split in ("train", "val")]

GITHUB = "https://github.com"
PSYCHOPHYSICS, PSYCHOPHYSICS_AT = "jobellet/psychophysics", "df02d2cd2a90d37c00e8b8aaff6a16f0010a90e8"
PEOPLE, PEOPLE_AT = "MirkoTh/semantic-representations-ID", "84e6e82476763ab8c597709e32986c9a0c3a6c52"
NOBODY, NOBODY_AT = "florianmahner/gpt-behavior", "4a8bd2fe526a7ba0b568e3b3569e6338100a8abd"
SAMPLES, SAMPLES_AT = "EliSchwartz/imagenet-sample-images", "bc69043e2862758a1906c6a24a792bb28c6bb2ff"
VICE, VICE_AT = "LukasMut/VICE", "5f80103ef4c9eb29477c4cadb1c9c54476d59e97"
SPOSE, SPOSE_AT = "ViCCo-Group/semantic_features_gpt_3", "3b132af668bc61706b944dcfd6b01672d3a49c34"
PERTURBATIONS, PERTURBATIONS_AT = "marrenj/cvpr_perturbations", "9820d612f66d3c2386e22159e1a6f841974efeb7"
RSATOOLBOX, RSATOOLBOX_AT = "rsagroup/rsatoolbox", "f1f83cadb7243492a1aae7460466e0f0140b20ac"
OSF_CHOICES = "https://osf.io/f5rn6: python -m alignet.worlds.fetch things-osf"
OSF_PICTURES = (
    "THINGS' own https://osf.io/jum2f, things-initiative.org; 508 photographs under CC0 are in "
    "https://github.com/brialorelle/vocab-gradient; --pictures FOLDER takes either"
)


def _raw(
    repository: str, commit: str, path: str, to: str, digest: str | None, page: str = "", needed: bool = True
) -> File:
    """A file of a GitHub repository at a commit."""
    page = page or f"{GITHUB}/{repository}"
    return File(f"{RAW}/{repository}/{commit}/{path}", to, page, sha256=digest, needed=needed)


def _pictures(repository: str, commit: str, folder: str, pattern: str, content: str, page: str, needed: bool) -> File:
    """Pictures in a GitHub repository at a commit, as its archive."""
    name = repository.partition("/")[2]
    inside = Pictures("/".join([f"{name}-{commit}", *([folder] if folder else [])]), pattern, content)
    archive = f"{GITHUB}/{repository}/archive/{commit}.zip"
    return File(archive, f"things/{name}.zip", page, unpack=True, pictures=inside, needed=needed)


CONCEPTS = _raw(
    VICE,
    VICE_AT,
    "data/files/things_concepts.tsv",
    "things/things_concepts.tsv",
    "f6eb4ec6fcad61e50a746bee820f98d1595fe655e9e210a9a407e9a17fd8cee4",
)
IDENTIFIERS = _raw(
    PEOPLE,
    PEOPLE_AT,
    "data/unique_id.txt",
    "things/unique_id.txt",
    "e2e59d02197e89776034938e7a73940a0823cacac4b6084b56b1d8959816ff76",
)
PERSON_FILE = _raw(
    PEOPLE,
    PEOPLE_AT,
    "data/test_10_ID.txt",
    "things/choices/test_10_ID.txt",
    "37224154a8715612949dc559d47be07f77659f48bae1fb3f4d73afa3cd53991d",
    OSF_CHOICES,
)
PERSON_SAMPLE = _raw(
    PEOPLE,
    PEOPLE_AT,
    "data/train_90_ID_smallsample.txt",
    "things/choices/train_90_ID_smallsample.txt",
    "bc2ea1b7e5a14db32c67179637dba7c06dea5966c33915947e35f0e4dac25f11",
    OSF_CHOICES,
)
STUDY = _raw(
    PEOPLE,
    PEOPLE_AT,
    "data/study1-2025-08/ooo_data_modeling_old_and_new_testcase.txt",
    "things/choices/ooo_data_modeling_old_and_new_testcase.txt",
    "92bede0ce8f2ac8364e7da9eae3ade6cf51bcc69cdf821fbcc4acbc72df9ce99",
)
VALIDATION_FILE = _raw(
    NOBODY,
    NOBODY_AT,
    "data/behavior_triplets_test10.txt",
    "things/choices/behavior_triplets_test10.txt",
    "3d99c59ba4793d7ccee4e3dccfce926a9ab9af5b515d30fb8a5e5541dc440617",
    OSF_CHOICES,
)
PERSON_LARGE = _raw(PEOPLE, PEOPLE_AT, "data/train_90_ID.txt", "things/choices/train_90_ID.txt", None, OSF_CHOICES)
NOBODY_LARGE = _raw(
    NOBODY,
    NOBODY_AT,
    "data/behavior_triplets_train90.txt",
    "things/choices/behavior_triplets_train90.txt",
    None,
    OSF_CHOICES,
)
EMBEDDINGS = [
    _raw(
        VICE,
        VICE_AT,
        "embeddings/things/final_embedding.npy",
        "things/vice.npy",
        "6c596ec9fe6e135e3fd32207d4d1d5eb004e3cef3810d5cb40474b1996d5392f",
        needed=False,
    ),
    _raw(
        SPOSE,
        SPOSE_AT,
        "data/things/spose_embedding_66d_sorted.txt",
        "things/spose_66d.txt",
        "6a485922fe22c10b2eb920140198488451d44ac6de0c6be5e8ee8eec8a2007cc",
        needed=False,
    ),
]
CLIP = _raw(  # (1,854, 512), of THINGS' reference photographs; the rows are in the order of the file names
    PEOPLE,
    PEOPLE_AT,
    "data/clip-vit-base-p32-embeddings.npy",
    "things/clip_vit_b32.npy",
    "afef6e30b7ac246286e0b49e475fff4e3fdd8ab786ee34a3b8b6f57ca38d5942",
    needed=False,
)
CLIP_NAMES = "clip_vit_b32_names.txt"  # written beside it
PHOTOGRAPHS = _pictures(
    PSYCHOPHYSICS,
    PSYCHOPHYSICS_AT,
    "shared-resources/things_images",
    "*_images/*.jpg",
    "50c59468bc4c4f1dd0eac9a3a214836807112aed3c374958c73b3454ee748f24",
    OSF_PICTURES,
    needed=True,
)
CLASSES = _pictures(
    SAMPLES,
    SAMPLES_AT,
    "",
    "*.JPEG",
    "e912fd91c0d65c122bbd9ba64f7943b2b71318bf77b3c7e274a6ae7a059e4026",
    f"{GITHUB}/{SAMPLES}",
    needed=False,
)
FILES = {
    "things": [
        CONCEPTS,
        IDENTIFIERS,
        PERSON_FILE,
        PERSON_SAMPLE,
        STUDY,
        VALIDATION_FILE,
        *EMBEDDINGS,
        CLIP,
        PHOTOGRAPHS,
        CLASSES,
    ],
    "things-osf": [
        File("https://osf.io/n9u4a/download", "things/triplet_dataset.zip", PAGES["things-osf"], unpack=True),
        CONCEPTS,
    ],
    "levels": [
        File(
            f"{PAGES['levels']}/raw/master/processed_data/pruned_dataset.pkl",
            "levels/pruned_dataset.pkl",
            PAGES["levels"],
        )
    ],
    "mur92": [
        _raw(
            RSATOOLBOX,
            RSATOOLBOX_AT,
            f"demos/92imageData/{mur92.PEOPLE}",
            f"mur92/{mur92.PEOPLE}",
            "7a8e118c144c3840adeeeef6ea0706a0be2b3e80df719af15fbb56fc62562f5f",
        ),
        _raw(
            RSATOOLBOX,
            RSATOOLBOX_AT,
            f"demos/92imageData/{mur92.PICTURES}",
            f"mur92/{mur92.PICTURES}",
            "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
        ),
    ],
    "things48": [
        _raw(
            PERTURBATIONS,
            PERTURBATIONS_AT,
            "data/RDM48_triplet.mat",
            "things48/RDM48_triplet.mat",
            "c08e207821fdba8d85e2d1018d89ca9a79afd106cc7db20506a69678528f094b",
        ),
        _raw(  # of which only the names of the photographs are read
            PERTURBATIONS,
            PERTURBATIONS_AT,
            "data/spose_embedding66d_rescaled_48val_reordered.csv",
            "things48/spose_embedding66d_rescaled_48val_reordered.csv",
            "fa89ec036c01f1ffdf1bfe0593bfde8048f0a2c04e723be34f1f21c22dc2d5dd",
        ),
    ],
}
BY_HAND = {
    "things-osf": "the pictures are not fetched: unpack those of https://osf.io/jum2f to "
    "{folder}/things/images/<concept>/",
    "imagenet": "ImageNet is never fetched: register at {page} and unpack it to {folder}/imagenet/train/<WordNet id>/ "
    "and {folder}/imagenet/val/<WordNet id>/",
}
TERMS = """The photographs are those of THINGS (Hebart et al. 2019, things-initiative.org), collected from the web: for
research and academic use only, and not to be passed on. People's choices of 2020 are under CC BY 4.0; the study of
2025 and the other files have licences of their own (docs/world.md)."""
NOT_ACCEPTED = "the terms were not accepted, nothing was fetched: type yes, or give --accept-terms"


def _accepted() -> bool:
    """Whether the user types yes."""
    try:
        return input("Type yes to accept these terms: ").strip().lower() == "yes"
    except EOFError:
        return False


def _files(dataset: str, names: list[str], everything: bool = False) -> list[File]:
    if dataset == "alignet-release":
        page = PAGES[dataset]
        return [File(RELEASE + name, f"alignet/{name}", page) for name in names or DEFAULT_RELEASE]
    files = FILES.get(dataset, [])
    if dataset == "things" and everything:
        return [file for file in files if file.path != PERSON_SAMPLE.path] + [PERSON_LARGE, NOBODY_LARGE]
    return files


def _had(files: list[File], options: argparse.Namespace) -> tuple[dict[str, Path], bool]:
    """Paths of the files by File.path, and whether a wanted file is missing; a line is printed for each file."""
    paths, failed = {}, False
    for file in files:
        try:
            path = taken(file, options.sources, options.to) if options.sources else fetch(file, options.to)
        except FetchError as error:
            without = bool(options.pictures if file.path == PHOTOGRAPHS.path else options.sources and not file.needed)
            print(f"{error}{': continues without it' if without else ''}", file=sys.stdout if without else sys.stderr)
            failed |= not without
            continue
        paths[file.path] = path
        print(f"{path}: {_said(path, file)}")
    return paths, failed


def _said(path: Path, file: File) -> str:
    if file.pictures is not None:
        count = sum(1 for _ in path.glob(file.pictures.pattern))
        return f"{count:,} pictures, sha256 of them all {file.pictures.content}"
    return f"{path.stat().st_size:,} bytes, sha256 {sha256(path)}"


def _things(found: dict[str, Path], options: argparse.Namespace) -> bool:
    """Make the world from the files and say what it holds; False if it cannot be made."""
    photographs = {"things": found[PHOTOGRAPHS.path]} if PHOTOGRAPHS.path in found else {}
    files = things_world.Files(
        concepts=found[CONCEPTS.path],
        identifiers=found[IDENTIFIERS.path],
        people=(found[PERSON_FILE.path], found[(PERSON_LARGE if options.all else PERSON_SAMPLE).path]),
        nobody=(found[VALIDATION_FILE.path], *([found[NOBODY_LARGE.path]] if options.all else [])),
        study=found[STUDY.path],
        photographs=photographs | ({"pictures": options.pictures} if options.pictures else {}),
        classes=None if options.no_imagenet else _own_imagenet(options) or found.get(CLASSES.path),
    )
    seed = options.split_seed
    name = f"world{'_no_imagenet' if options.no_imagenet else ''}{f'_split_{seed}' if seed else ''}"
    out = options.to / "things" / name
    try:
        _, report = things_world.make(files, out, seed)
        if CLIP.path in found:
            _name_rows(found[CLIP.path], files.identifiers.read_text(encoding="utf-8").split())
    except WorldError as error:
        print(error, file=sys.stderr)
        return False
    for source in things_world.SOURCES:
        print(f"{source['name']}: {source['url']}, licence: {source['licence']}")
    print(f"\n{report.text()}\n\n{out}: python -m alignet.worlds check {shlex.quote(str(out))}")
    return True


def _name_rows(clip: Path, names: list[str]) -> None:
    """Write the concept of each row of the features of CLIP beside them, one a line."""
    ordered = [names[number] for number in things_concepts.by_file_name(names)]
    clip.with_name(CLIP_NAMES).write_text("".join(f"{name}\n" for name in ordered), encoding="utf-8")


def _own_imagenet(options: argparse.Namespace) -> Path | None:
    """The folder of ImageNet's own training pictures, if it is there."""
    folder = options.to / "imagenet" / "train"
    return folder if folder.is_dir() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alignet fetch", description="Public data.")
    parser.add_argument("dataset", choices=sorted(PAGES))
    parser.add_argument("files", nargs="*", help="of alignet-release: <target>/<split>_<scheme>.npz")
    parser.add_argument("--to", type=Path, default=home() / "data" / "external")
    parser.add_argument(
        "--from",
        dest="sources",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="download nothing: take the files from this folder; may be given several times",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="of things: photographs <concept>_<number>.jpg of your own copy of THINGS; they replace those of the same "
        "name and join the others",
    )
    parser.add_argument("--all", action="store_true", help="of things: the two large files of choices as well")
    parser.add_argument(
        "--split-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="of things: another draw of the concepts that no fit may see, a world of its own: things/world_split_SEED",
    )
    parser.add_argument(
        "--no-imagenet",
        action="store_true",
        help="of things: no photographs of ImageNet, in a world of its own: things/world_no_imagenet",
    )
    parser.add_argument("--accept-terms", action="store_true", help="of things: accept the photographs' terms of use")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Fetch the files of a data set; return 1, after a line for each file that cannot be had, and otherwise 0."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.files and options.dataset != "alignet-release":
        parser.error("only alignet-release takes names of files")
    of_things = options.pictures or options.all or options.accept_terms or options.split_seed or options.no_imagenet
    if options.dataset != "things" and of_things:
        parser.error("--pictures, --all, --split-seed, --no-imagenet and --accept-terms are for things")
    if options.split_seed < 0:
        parser.error("--split-seed: needs 0 or more")
    absent = [folder for folder in [*options.sources, options.pictures] if folder and not folder.is_dir()]
    if absent:
        parser.error(f"{absent[0]}: no such folder")
    if options.dataset == "things":
        print(TERMS)
        if not (options.accept_terms or _accepted()):
            print(NOT_ACCEPTED, file=sys.stderr)
            return 1
    files = _files(options.dataset, options.files, options.all)
    if options.dataset == "things" and options.no_imagenet:
        files = [file for file in files if file.path != CLASSES.path]
    elif options.dataset == "things" and _own_imagenet(options):
        print(f"{_own_imagenet(options)}: in place of the photographs of {CLASSES.path}")
        files = [file for file in files if file.path != CLASSES.path]
    paths, failed = _had(files, options)
    if options.dataset == "things":
        needed = [file for file in files if file.needed and not (file.path == PHOTOGRAPHS.path and options.pictures)]
        failed |= any(file.path not in paths for file in needed) or not _things(paths, options)
    if options.dataset == "mur92" and not failed:
        print(f"{len(mur92.extract(options.to / 'mur92'))} pictures in {options.to / 'mur92' / 'pictures'}")
    if options.dataset in BY_HAND:
        print(BY_HAND[options.dataset].format(folder=options.to, page=PAGES[options.dataset]), file=sys.stderr)
    return int(failed or options.dataset == "imagenet")


if __name__ == "__main__":
    sys.exit(main())
