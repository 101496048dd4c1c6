"""From arguments to settings to an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_encoder import __version__
from bids_encoder.config import settings
from bids_encoder.config.option_types import MOST_DELAYS, UnfitError, check_texts
from bids_encoder.config.settings import SECTIONS, Settings
from bids_encoder.config.toml_file import read_toml
from bids_encoder.errors import BidsEncoderError, MissingInputError, UsageError, of_the_system
from bids_encoder.runtime.environment import prepare

EPILOG = """\
exit codes:
  0   all well                         65  a file is there, its content is wrong
  1   a participant failed             66  a file is missing
  2   options that do not go together  70  a bug of this program
  16  not a valid BIDS dataset         73  the output cannot be written
  18  the filters select nothing
"""


def build_parser() -> argparse.ArgumentParser:
    """Make the parser from the options declared in :mod:`bids_encoder.config.settings`."""
    parser = argparse.ArgumentParser(
        prog="bids-encoder",
        usage="%(prog)s BIDS_DIR OUTPUT_DIR {participant,group} [options]",
        description="Fit encoding models of deep-network layers to the voxels of a BIDS dataset.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="folder of the dataset")
    parser.add_argument(
        "output_dir", type=Path, metavar="OUTPUT_DIR", help="folder for the derivatives"
    )
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="participant: fit and write maps; group: summarise the participants' results",
    )
    parser.add_argument("--version", action="version", version=f"bids-encoder {__version__}")
    for name, kind in SECTIONS.items():
        group = parser.add_argument_group((kind.__doc__ or "").rstrip("."))
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            group.add_argument(
                *(item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",)),
                dest=f"{name}.{item.name}",
                default=argparse.SUPPRESS,
                help=_help(item),
                **_keywords(item, hints[item.name]),
            )
    group.add_argument(
        "--config-file", type=Path, metavar="FILE.toml",
        help="options from a file; the command line wins over it",
    )  # fmt: skip
    return parser


def dashed(argument: str) -> str:
    """Read ``--participant_label`` as ``--participant-label``; leave all else alone."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _help(item: dataclasses.Field) -> str:
    text = item.metadata["help"].replace("%", "%%")
    default = item.default
    if default in (None, (), False) or "default" in text or "action" in item.metadata["keywords"]:
        return text
    if isinstance(default, tuple):
        default = " ".join(map(str, default))
    return f"{text} (default: {default})"


def _keywords(item: dataclasses.Field, hint: Any) -> dict[str, Any]:
    keywords = dict(item.metadata["keywords"])
    if "Path" in str(hint):
        keywords.setdefault("type", Path)
    return keywords


def parse(arguments: Sequence[str]) -> Settings:
    """Turn command-line arguments into settings.

    Raises
    ------
    SystemExit
        Code 2: argparse found the usage wrong. Code 0: ``--help``, ``--version``.
    UsageError
        Options that do not go together.
    """
    values = vars(build_parser().parse_args([dashed(argument) for argument in arguments]))
    path = values.pop("config_file", None)
    with _unfit_is_refused():
        check_texts(path, "--config-file")
    from_file = read_toml(path) if path else {}
    from_line: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if "." in key:
            section, name = key.split(".")
            value = tuple(value) if isinstance(value, list) else value
            from_line.setdefault(section, {})[name] = value
    chosen = settings.from_tables(
        values["bids_dir"], values["output_dir"], values["analysis_level"], from_file, from_line
    )
    _check_values(chosen)
    if not any("work_dir" in given.get("resources", {}) for given in (from_file, from_line)):
        place = default_work_dir(chosen.output_dir)
        chosen = replace(chosen, resources=replace(chosen.resources, work_dir=place))
    _check_folders(chosen)
    return chosen


def default_work_dir(output_dir: Path) -> Path:
    """Where intermediate files go if the user does not say.

    ``work`` in the current folder. In a container, where the current folder is lost in the
    end, and where it cannot be written to: ``.work`` in the output folder.
    """
    here = Path("work")
    usable = os.access(here if here.exists() else Path("."), os.W_OK | os.X_OK)
    if usable and "BIDS_ENCODER_CONTAINER_TYPE" not in os.environ:
        return here
    return output_dir / ".work"


@contextmanager
def _unfit_is_refused() -> Iterator[None]:
    try:
        yield
    except UnfitError as error:
        raise UsageError(
            "A value cannot be used.",
            place="command line or configuration file",
            found=error,
            expected="names and paths that a file system, tables and pages can hold",
        ) from None


def _check_values(chosen: Settings) -> None:
    """Refuse texts and lists without end, before anything is looked for."""
    with _unfit_is_refused():
        check_texts(chosen.bids_dir, "BIDS_DIR")
        check_texts(chosen.output_dir, "OUTPUT_DIR")
        for section, kind in SECTIONS.items():
            for item in dataclasses.fields(kind):
                flag = (item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",))[-1]
                check_texts(getattr(getattr(chosen, section), item.name), flag)
    delays = chosen.responses.delays
    if len(delays) > MOST_DELAYS:
        raise UsageError(
            "There are too many delays.",
            place="--delays",
            found=len(delays),
            expected=f"at most {MOST_DELAYS}: the features are taken once for each",
        )


def _check_folders(chosen: Settings) -> None:
    """Refuse folders in which results would get mixed up with the dataset."""
    bids_dir, output_dir, work_dir = (
        Path(os.path.realpath(folder))
        for folder in (chosen.bids_dir, chosen.output_dir, chosen.resources.work_dir)
    )
    if not chosen.bids_dir.exists():
        raise MissingInputError(
            "The dataset's folder is not there.",
            file=chosen.bids_dir,
            remedy="give the folder that holds dataset_description.json",
        )
    derivatives = bids_dir / "derivatives"
    if output_dir.is_relative_to(bids_dir) and not output_dir.is_relative_to(derivatives):
        raise UsageError(
            "The output folder is the dataset itself."
            if output_dir == bids_dir
            else "The output folder lies inside the dataset.",
            file=chosen.output_dir,
            expected=f"a folder in {chosen.bids_dir / 'derivatives'}, or outside of the dataset",
            remedy=f"use for instance {chosen.bids_dir / 'derivatives' / 'bids_encoder'}",
        )
    inside = work_dir == bids_dir or bids_dir in work_dir.parents
    # What lies in the output folder is the output folder's, wherever that is.
    if inside and output_dir not in work_dir.parents:
        raise UsageError(
            "The work folder lies inside the dataset.",
            file=chosen.resources.work_dir,
            remedy=f"use for instance -w {chosen.bids_dir.absolute().parent / 'work'}",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except BidsEncoderError as error:
        print(f"bids-encoder: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        named = of_the_system(error)
        if named is None:
            raise
        print(f"bids-encoder: {named}", file=sys.stderr)
        return named.exit_code


def _main(arguments: Sequence[str]) -> int:
    chosen = parse(arguments)
    resources = chosen.resources
    if resources.omp_nthreads is None and resources.nprocs > 1:
        set_threads(max(1, (os.cpu_count() or 1) // resources.nprocs))
    else:
        set_threads(resources.omp_nthreads)
    prepare(resources.work_dir)
    from bids_encoder.app.levels import run
    from bids_encoder.runtime import console

    console.start_logging(chosen.flow.verbose)
    return run(chosen)


def set_threads(number: int | None = None) -> None:
    """Tell the numerical libraries how to use the cores; they listen before their first import.

    Threads that wait for others sleep instead of spinning: where other programs
    use the cores too, as on shared machines, spinning makes a fit tens of times
    slower, and where they do not, sleeping costs nothing that can be measured.

    Parameters
    ----------
    number : int, optional
        Threads of this process; default: as the environment has it, else all cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if number:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(number)
