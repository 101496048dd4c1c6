"""Were participants analysed alike? What differs between them, setting by setting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from bids_encoder.config.settings import result_options
from bids_encoder.derivatives.provenance import plain
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.errors import DataError

logger = logging.getLogger(__name__)

_UNKNOWN = "not recorded"
# What they were resolved to is compared instead (layers), or does not change what is summarised.
_NOT_COMPARED = ("layers", "save_weights", "design")
# Of results that are made only where they are asked for; who has none is no other case.
_WHERE_THERE = ("--fdr", "--similarity-items")
_ATLAS = "content of the atlas "  # of one that was named with --atlas, likewise
# Settings that change something only where a condition holds, given all settings and the sidecar.
_ONLY_WHERE: Mapping[tuple[str, ...], Callable[[Mapping, Mapping], bool]] = {
    ("network_seed",): lambda chosen, side: bool(chosen.get("untrained")),
    ("fd_threshold", "std_dvars_threshold"): lambda chosen, side: (
        "scrub" in str(chosen.get("confounds"))
    ),
    ("hrf",): lambda chosen, side: side.get("Design") != "continuous",
    ("delays",): lambda chosen, side: side.get("Design") != "events",
    ("hrf", "high_pass", "confounds", "skip_volumes", "slice_time_ref"): lambda chosen, side: (
        "Precomputed" not in side
    ),
    ("fd_threshold", "std_dvars_threshold", "delays"): lambda chosen, side: (
        "Precomputed" not in side
    ),
    ("betas_key",): lambda chosen, side: "Precomputed" in side,
}


def check_alike(members: Sequence[SavedAnalysis], *, allow_mixed: bool) -> list[str]:
    """Compare all that changes results, from participant to participant.

    Compared are the options that change results and have an effect in such data, the design, what
    the responses were made of, the network's weights and preprocessing or the file of features, the
    frames per second of films, the version of this program, the false discovery rate of the
    p-values and the number of pictures of the similarity analysis. What belongs to a participant is
    not: stimuli, runs and their number, sessions, confounds that were found, reference times. A
    setting that some participants' sidecars lack counts as another one.

    Parameters
    ----------
    members : sequence of SavedAnalysis
        Analyses that are to be summarised together.
    allow_mixed : bool
        Go on with a warning where something differs.

    Returns
    -------
    list of str
        What differs, one setting each, and who has what; empty where they are alike.

    Raises
    ------
    DataError
        Something differs, and that is not allowed.
    """
    _warn_of_repetition_times(members)
    found = differences({f"sub-{one.names['sub']}": how_made(one) for one in members})
    found += _features_that_differ(members)
    if not found:
        return []
    names = members[0].names
    place = f"task {names['task']}, network {names['network']}"
    if allow_mixed:
        logger.warning(
            f"{place}: participants were analysed with different settings, and are summarised "
            f"all the same (--allow-mixed): {'; '.join(found)}."
        )
        return found
    raise DataError(
        "Participants were analysed with different settings, so that a summary would mix them.",
        file=members[0].root,
        place=place,
        found="\n            ".join(found),
        expected="the same settings for all",
        remedy="run the participants again with the same options, name those to be summarised "
        "with --participant-label, or go on all the same with --allow-mixed",
    )


def how_made(one: SavedAnalysis) -> dict[str, object]:
    """All that changes the results of an analysis but does not belong to its participant.

    Parameters
    ----------
    one : SavedAnalysis

    Returns
    -------
    dict of str to value
        By the option, or by words; in the form in which JSON gives it back.
    """
    side = one.sidecar
    chosen = side.get("Settings") or {}
    made: dict[str, object] = {
        f"--{name.replace('_', '-')}": chosen.get(name, _UNKNOWN)
        for _, name in result_options()
        if name not in _NOT_COMPARED
        and all(rule(chosen, side) for names, rule in _ONLY_WHERE.items() if name in names)
    }
    made["design"] = side.get("Design", _UNKNOWN)
    made["responses"] = _responses(side)
    features = side.get("FeaturesFrom")
    if isinstance(features, Mapping):
        made |= {f"features: {name}": value for name, value in features.items()}
    made["frames per second of films"] = side.get("FramesPerSecond", _UNKNOWN)
    made["version"] = _version(side)
    made |= _of_other_files(one)
    return plain(made)


def differences(made: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What differs between participants: a line a setting, "hrf: spm (sub-01), glover (sub-02)".

    Parameters
    ----------
    made : mapping of participant to mapping of setting to value
    """
    lines = []
    for name in dict.fromkeys(name for one in made.values() for name in one):
        who: dict[str, list[str]] = {}
        for participant, settings in made.items():
            where_there = name in _WHERE_THERE or name.startswith(_ATLAS)
            if where_there and name not in settings:
                continue
            who.setdefault(_in_words(settings.get(name, _UNKNOWN)), []).append(participant)
        if len(who) > 1:
            lines.append(f"{name}: " + "; ".join(f"{v} ({', '.join(p)})" for v, p in who.items()))
    return lines


def _features_that_differ(members: Sequence[SavedAnalysis]) -> list[str]:
    """Features of the same stimuli that differ, as those of a file that was written anew.

    A network's are told apart by its weights; what a file holds for other stimuli says nothing.
    """
    who: dict[object, dict[object, list[str]]] = {}
    for one in members:
        chosen = one.sidecar.get("Settings") or {}
        stimuli, features = (chosen.get(name) for name in ("stimuli", "features"))
        if stimuli is not None and features is not None:
            same = who.setdefault(stimuli, {})
            same.setdefault(features, []).append(f"sub-{one.names['sub']}")
    return [
        "features of the same stimuli: "
        + "; ".join(f"{str(name)[:12]} ({', '.join(people)})" for name, people in found.items())
        for found in who.values()
        if len(found) > 1
    ]


def _responses(side: Mapping) -> str:
    """What the responses were made of, and by whom: "preprocessed BOLD of fmriprep"."""
    sources = side.get("Sources") or []
    parts = str(sources[0]).split(":") if sources else []
    whose = f" of {parts[1]}" if len(parts) == 3 and parts[1] else ""
    if "Precomputed" in side:
        return f"precomputed betas{whose}"
    if "Preprocessed" not in side:
        return _UNKNOWN
    return f"{'preprocessed' if side['Preprocessed'] else 'raw'} BOLD{whose}"


def _version(side: Mapping) -> str:
    """The version of this program: the first of "bids_encoder 1.0, python 3.11, ..."."""
    return str(side.get("SoftwareVersions", _UNKNOWN)).partition(",")[0]


def _of_other_files(one: SavedAnalysis) -> dict[str, object]:
    """The settings `_WHERE_THERE`, and what the atlases hold that the user named."""
    made: dict[str, object] = {}
    q = one.matching_sidecar("q")
    if q is not None:
        made["--fdr"] = q.get("FalseDiscoveryRate", _UNKNOWN)
    for path in list(one.of_atlases("similarity").values())[:1]:
        chosen = sidecar_of(path).get("Settings") or {}
        made["--similarity-items"] = chosen.get("similarity_items", _UNKNOWN)
    for atlas, path in one.fingerprints().items():
        stamp = sidecar_of(path).get("AtlasStamp")
        if stamp is not None:  # else the participant's own segmentation
            made[f"{_ATLAS}{atlas}"] = str(stamp)[:12]
    return made


def _in_words(value: object) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _warn_of_repetition_times(members: Sequence[SavedAnalysis]) -> None:
    times: dict[object, list[str]] = {}
    for one in members:
        if "RepetitionTime" in one.sidecar:
            label = f"sub-{one.names['sub']}"
            times.setdefault(one.sidecar["RepetitionTime"], []).append(label)
    if len(times) > 1:
        listed = "; ".join(f"{time:g} s ({', '.join(who)})" for time, who in times.items())
        logger.warning(
            f"Task {members[0].names['task']}: repetition times differ, and with them how many "
            f"volumes a response is estimated from: {listed}."
        )
