"""``bids-encoder-neural-code``: coding schemes, a simulated scanner, and a deep network.

Needs no dataset. What Guest and Love 2017 (eLife 6:e21397) simulated, and with a
table of pictures what they asked of a deep network.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from bids_encoder import __version__
from bids_encoder.config.option_types import positive_count, seed
from bids_encoder.errors import BidsEncoderError, UsageError
from bids_encoder.runtime import console
from bids_encoder.runtime.environment import prepare


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="bids-encoder-neural-code",
        description="Simulate neural codes and how they look through a scanner; with --pictures, "
        "compare the layers of a deep network on pictures in nested categories.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="folder for tables, figures and the page")
    add("--simulated-networks", type=positive_count, default=100, metavar="N",
        help="random networks, each with as many prototypes (default: 100)")  # fmt: skip
    add("--simulated-sheets", type=positive_count, default=20, metavar="N",
        help="sheets of units that the simulated scanner looks at (default: 20)")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="of all random numbers (default: 0)")
    add("--pictures", type=Path, metavar="TABLE.tsv",
        help="pictures with the columns picture, subordinate, basic, superordinate")  # fmt: skip
    add("--network", default="efficientnet_lite0", metavar="NAME",
        help="network that sees the pictures (default: efficientnet_lite0)")  # fmt: skip
    add("--layers", nargs="+", default=(), metavar="LAYER", help="layers by module name")
    add("--untrained", action="store_true", help="random weights")
    add("--weights-dir", type=Path, metavar="PATH", help="folder with weight files, or one file")
    add("--allow-downloads", action="store_true", help="let missing weights be downloaded")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    add("--version", action="version", version=f"bids-encoder {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from bids_encoder.app.cli import dashed

    given = sys.argv[1:] if arguments is None else arguments
    chosen = build_parser().parse_args([dashed(argument) for argument in given])
    prepare(chosen.output / ".work")
    console.start_logging()
    try:
        page = run(chosen)
    except BidsEncoderError as error:
        print(f"bids-encoder-neural-code: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception:  # our own bug: say so, with what is needed to mend it
        traceback.print_exc()
        return BidsEncoderError.exit_code
    print(page)
    return 0


def run(chosen: argparse.Namespace) -> Path:
    """Simulate, look at pictures, write everything.

    Parameters
    ----------
    chosen : argparse.Namespace
        What :func:`build_parser` parses.

    Returns
    -------
    Path
        The page that shows all results.

    Raises
    ------
    BidsEncoderError
        Input is wrong, or the output cannot be written.
    """
    from bids_encoder.simulations import coding_schemes, scanner
    from bids_encoder.simulations import page as report

    _check(chosen)
    table = network = None
    if chosen.pictures is not None:  # whatever is wrong comes out before anything is computed
        table, network = _open(chosen)
    count = chosen.simulated_networks
    with console.stage("schemes") as words, console.progress("schemes", "networks") as bar:
        codes = {
            reading: coding_schemes.simulate(
                networks=count, prototypes=prototypes, map_inputs=reading == "mapped",
                seed=chosen.seed, on_progress=bar,
            )
            for reading, prototypes in (("mapped", count), ("zscored", max(1, count // 5)))
        }  # fmt: skip
        words.append(f"{len(codes['mapped'])} schemes, {count} networks × {count} prototypes")
    with console.stage("scanner") as words:
        scans = scanner.scan(repeats=chosen.simulated_sheets, seed=chosen.seed)
        words.append(f"{len(scanner.LAYOUTS)} layouts × {len(scanner.VOXELS)} sizes of voxels")
    options = {"Seed": chosen.seed, "SimulatedNetworks": count, "PrototypesPerNetwork": count}
    sheets = {"Seed": chosen.seed, "SimulatedSheets": chosen.simulated_sheets}
    sections = [
        report.schemes_section(chosen.output, codes, options),
        report.scanner_section(chosen.output, scans, sheets),
    ]
    if network is not None:
        sections.append(_pictures(chosen, table, network))
    return report.write_page(chosen.output, sections)


def _check(chosen: argparse.Namespace) -> None:
    if chosen.pictures is None and (chosen.untrained or chosen.layers or chosen.weights_dir):
        raise UsageError(
            "There are options for a network, but no pictures to show to it.",
            place="--layers, --untrained or --weights-dir",
            expected="--pictures TABLE.tsv",
            remedy="add --pictures, or leave out --layers, --untrained and --weights-dir",
        )
    if chosen.output.exists() and not chosen.output.is_dir():
        raise UsageError(
            "The output is a file, not a folder.", file=chosen.output, remedy="name another folder"
        )


def _open(chosen: argparse.Namespace):
    from bids_encoder.networks.registry import load_network
    from bids_encoder.simulations.category_pictures import read_picture_table

    table = read_picture_table(chosen.pictures)
    with console.stage("network") as words:
        network = load_network(
            chosen.network,
            layers=chosen.layers,
            untrained=chosen.untrained,
            seed=chosen.seed,
            weights_dir=chosen.weights_dir,
            allow_downloads=chosen.allow_downloads,
            device=chosen.device,
        )
        words += [network.name, f"{len(network.layers)} layers"]
    return table, network


def _pictures(chosen: argparse.Namespace, table, network):
    from bids_encoder.simulations import page as report
    from bids_encoder.simulations.category_pictures import layer_codes

    with console.stage("pictures") as words, console.progress("pictures", "pictures") as bar:
        codes = layer_codes(network, table, seed=chosen.seed, on_progress=bar)
        words.append(f"{len(table.paths)} pictures, {len(codes)} layers")
    options = {
        "Network": network.name,
        "Untrained": chosen.untrained,
        "Weights": network.weights_id,
        "Citation": network.citation,
        "Pictures": len(table.paths),
        "Seed": chosen.seed,
    }
    return report.pictures_section(chosen.output, table, codes, options)


if __name__ == "__main__":
    sys.exit(main())
