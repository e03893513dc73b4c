"""The command `alignet`, each of whose subcommands runs the module that does the work.

`alignet COMMAND ...` is the same as `python -m MODULE ...`. A module is imported only when it is called, so that help
is fast.
"""

import argparse
import sys
from importlib import import_module

from alignet import __version__

COMMANDS = {  # command: (module with a main, what it does)
    "repro": ("alignet.pipeline.repro", "run the pipeline: only what has changed"),
    "config": ("alignet.config", "write a profile's settings into params.yaml"),
    "preflight": ("alignet.pipeline.preflight", "what a later stage would refuse"),
    "run": ("alignet.pipeline.notebook", "run one notebook as a stage does"),
    "report": ("alignet.report.__main__", "a page of a finished run to read off line"),
    "compare": ("alignet.report.compare", "how far a run is from the published one; fetch that one's figures"),
    "replicate": ("alignet.reruns.replicate", "a finished run again with other seeds"),
    "ablate": ("alignet.reruns.ablate", "a finished run again with one choice changed at a time"),
    "develop": ("alignet.reruns.develop", "other settings, on concepts that no result is reported on"),
    "beside": ("alignet.reruns.beside", "the results of several runs in one figure"),
    "worlds": ("alignet.worlds.__main__", "your own pictures: new, check, params, triplets, import"),
    "fetch": ("alignet.worlds.fetch", "public data sets, downloaded and verified; also `alignet worlds fetch`"),
    "jspsych": ("alignet.collect.jspsych", "an experiment as a web page; also `alignet collect`"),
    "evaluate": ("alignet.evaluation.__main__", "score any timm model, or an exported one, on a run's world"),
    "export": ("alignet.export.__main__", "a student or the teacher's map, to take away"),
    "cache": ("alignet.pipeline.cache", "how much disk stored outputs of frozen layers take; empty it"),
}
ALSO = {("collect",): "jspsych", ("worlds", "fetch"): "fetch"}


def main(arguments: list[str] | None = None) -> int:
    """Run a command's module with the words after the command; return 2 for an unknown command, 1 if a package is
    missing.
    """
    words = sys.argv[1:] if arguments is None else arguments
    for also, name in ALSO.items():
        if tuple(words[: len(also)]) == also:
            words = [name, *words[len(also) :]]
    lines = [f"  {name:<10}  {does}" for name, (_, does) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="alignet",
        usage="alignet COMMAND ...",
        description="Align vision models to people's odd-one-out choices, and score them against people.",
        epilog="\n".join(["commands (alignet COMMAND --help says more):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    command = parser.parse_args(words[:1]).command
    try:
        if command == "repro":  # which runs dvc as a program
            import_module("dvc")
        return import_module(COMMANDS[command][0]).main(words[1:])
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "alignet":
            raise
        extras = "pip install '.[pipeline,emoji]' in alignet's folder installs all that its commands need"
        print(f"alignet {command}: the package {error.name} is not installed: {extras}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
