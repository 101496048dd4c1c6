"""The region of the best-predicted voxels: what chooses it never tests it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from bids_encoder.analysis.predicted_region import (
    best_voxels,
    choosing_rows,
    find_predicted_region,
)
from bids_encoder.derivatives.rsa_columns import (
    BEST_QUARTER,
    OTHERS,
    SAME,
    SIMILARITY,
    TRAINING,
    with_choice,
)
from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.group.rsa import _ceiling, summarise
from bids_encoder.report import code_figures
from bids_encoder.responses.assemble import Responses
from bids_encoder.rsa.compare import compare
from bids_encoder.rsa.similarity import pairs, similarity_matrix

N_RUNS, SIDE = 4, 7


@dataclass(frozen=True)
class Participant:
    """Pictures, features of four layers that resemble each other, and responses."""

    responses: Responses
    groups: np.ndarray
    layers: tuple[np.ndarray, ...]

    def kernel(self, layer: str) -> np.ndarray:
        return linear_kernel(self.layers[int(layer)])

    @property
    def names(self):
        return [str(k) for k in range(len(self.layers))]

    def scores(self, rows=slice(None)):
        """Of all layers, by models of all these rows."""
        folds = make_folds(self.groups[rows])
        values = self.responses.values[rows]
        found = [fit(x[rows], values, folds, keep_weights=False).r for x in self.layers]
        return [SimpleNamespace(layer=str(k), r=r) for k, r in enumerate(found)]

    def region(self, scores=None, held=None, **how):
        held = np.zeros(len(self.responses.values), bool) if held is None else held
        scores = [SimpleNamespace(layer=name) for name in self.names] if scores is None else scores
        items = self.responses.stimuli or ()
        return find_predicted_region(
            self.responses, self.groups, held, scores, self.kernel, items, **how
        )

    def compared(self, voxels, rows, permutations=99):
        layers = similarity_matrix(np.stack([x[rows] for x in self.layers]))
        patterns = self.responses.values[rows][:, voxels]
        return compare(layers, [patterns], permutations=permutations)[0]


def participant(seed, *, n=84, smooth=0.0, signal=0.0, pictures=3, continuous=False):
    """Noise, and in a part of the voxels a signal that follows the third layer."""
    rng = np.random.default_rng(pictures)
    hidden = rng.standard_normal((n, 12)) @ rng.standard_normal((12, 80))
    layers = []
    for _ in range(4):
        layers.append(hidden)
        hidden = np.tanh(hidden @ rng.standard_normal((80, 80)) / 9)
    random = np.random.default_rng((seed, 1))
    values = random.standard_normal((n, SIDE, SIDE, SIDE))
    if smooth:
        values = gaussian_filter(values, (0, smooth, smooth, smooth))
    values = (values / values.std()).reshape(n, -1)
    third = (layers[2] - layers[2].mean(0)) / layers[2].std()
    weights = random.standard_normal((80, 100)) / np.sqrt(80)
    values[:, :100] += signal * third @ weights
    values = (values - values.mean(0)) / values.std(0)
    names = None if continuous else tuple(f"p{k:03d}.png" for k in range(n))
    groups = np.arange(n) * N_RUNS // n
    return Participant(Responses(values.astype(np.float32), None, names), groups, tuple(layers))


@pytest.mark.parametrize("smooth", [0.0, 1.2])
def test_noise_agrees_with_no_layer_unless_it_chooses_itself(smooth):
    others, same = [], []
    for seed in range(12):
        one = participant(seed, smooth=smooth, pictures=seed)
        region = one.region()
        assert region.chosen_on == OTHERS
        others.append(one.compared(region.voxels, region.compared).pearson)
        voxels = best_voxels([score.r for score in one.scores()])
        same.append(one.compared(voxels, slice(None)).pearson)
    error = np.std(others, axis=0) / np.sqrt(len(others))
    assert (np.abs(np.mean(others, axis=0)) < 3.5 * error).all()
    # What the test would see if the choice had seen what it is compared with.
    assert (np.mean(same, axis=0) > 3.5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [0.0, 1.2])
def test_p_intervals_and_group_ceilings_of_noise(smooth):
    """20 groups of 12 participants; the same pictures within a group."""
    p, covered, encoding, ceilings = [], [], [], []
    for group in range(20):
        measured = []
        for member in range(12):
            one = participant(100 * group + member, smooth=smooth, pictures=group)
            region = one.region()
            found = one.compared(region.voxels, region.compared, permutations=199)
            p.append(found.p)
            covered.append((found.interval[0] <= 0) & (found.interval[1] >= 0))
            encoding.append(region.encoding_r)
            square = np.full((84, 84), np.nan)
            square[np.ix_(region.compared, region.compared)] = found.similarity
            measured.append((list(one.responses.stimuli), pairs(square)))
        ceilings.append(_ceiling(measured))
    p, covered = np.array(p), np.array(covered)
    # Layers of one participant are much alike: each has its own share, of 240.
    assert (np.abs((p <= 0.05).mean(axis=0) - 0.05) < 0.045).all()
    assert all(stats.kstest(column, "uniform").statistic < 0.115 for column in p.T)
    assert ((covered.mean(axis=0) > 0.93) & (covered.mean(axis=0) < 0.995)).all()
    assert np.mean(ceilings, axis=0)[:2] == pytest.approx([0, 12**-0.5], abs=0.02)
    assert (np.abs(np.mean(encoding, axis=0)) < 0.02).all()


def test_the_layer_that_voxels_follow_is_found():
    found = []
    for seed in range(6):
        one = participant(seed, signal=0.8)
        region = one.region()
        # Most of what is taken are some of the hundred voxels of 343 that have signal.
        assert region.voxels[:100].sum() > 0.5 * region.voxels.sum()
        found.append(one.compared(region.voxels, region.compared))
        assert region.encoding_r.max() > 0.2
    best = [int(np.argmax(one.pearson)) for one in found]
    assert best.count(2) >= 5
    assert all(one.p[2] == 0.01 and one.interval[0, 2] > 0 for one in found)


def test_the_choice_does_not_see_what_is_compared():
    """Whatever the compared responses are, the same voxels are chosen."""
    one = participant(1)
    region = one.region()
    values = one.responses.values.copy()
    values[region.compared] = np.random.default_rng(2).standard_normal(
        (np.count_nonzero(region.compared), values.shape[1])
    )
    changed = Participant(
        Responses(values, None, one.responses.stimuli), one.groups, one.layers
    ).region()
    np.testing.assert_array_equal(changed.voxels, region.voxels)
    assert not np.array_equal(changed.encoding_r, region.encoding_r)


def test_a_test_set_is_compared_and_the_training_set_chooses():
    one = participant(2, signal=0.5)
    held = one.groups == 3
    scores = one.scores(~held)
    test_r = np.linspace(0, 1, one.responses.values.shape[1])
    for score in scores:
        score.test_r = test_r
    region = one.region(scores, held)
    assert region.chosen_on == TRAINING
    np.testing.assert_array_equal(region.compared, held)
    np.testing.assert_array_equal(region.voxels, best_voxels([score.r for score in scores]))
    assert region.encoding_r == pytest.approx([test_r[region.voxels].mean()] * 4)


def test_where_too_few_pictures_are_left_nothing_is_tested(caplog):
    one = participant(3, n=11)
    region = one.region(one.scores())
    assert region.chosen_on == SAME and region.compared.all()
    assert "It gets no p, no interval and no noise ceiling" in caplog.text


def test_participants_who_saw_the_same_choose_by_the_same_pictures():
    first, groups = participant(1).responses, participant(1).groups
    order = np.random.default_rng(0).permutation(84)
    shuffled = Responses(
        first.values[order], None, tuple(first.stimuli[k] for k in order)
    )  # fmt: skip
    rows = [choosing_rows(one, groups, first.stimuli) for one in (first, shuffled)]
    chosen = [
        {name for name, choosing in zip(one.stimuli, where, strict=True) if choosing}
        for one, where in zip((first, shuffled), rows, strict=True)
    ]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 28
    assert not np.array_equal(rows[0], choosing_rows(first, groups, first.stimuli, seed=1))


def test_pictures_that_are_not_sampled_choose_where_they_are_enough():
    one = participant(1)
    responses = one.responses
    sampled = responses.stimuli[:40]
    rows = choosing_rows(responses, one.groups, sampled)
    chosen = {name for name, some in zip(responses.stimuli, rows, strict=True) if some}
    assert len(chosen) == 28 and not chosen & set(sampled)


def test_volumes_choose_by_whole_runs():
    one = participant(1, continuous=True)
    rows = choosing_rows(one.responses, one.groups, ())
    assert set(one.groups[rows]) == {0}
    assert rows[one.groups == 0].all()


# ---- the tables and figures of untested regions


def table(chosen_on, p=0.001, layers=("pixels", "a", "b")):
    values = {name: [0.1] * len(layers) for name in SIMILARITY}
    values |= {"region": [BEST_QUARTER] * len(layers), "layer": list(layers)}
    values |= {"voxels": [30] * len(layers), "chosen_on": [chosen_on] * len(layers)}
    values |= {"p": [p] * len(layers), "encoding_r": [np.nan, 0.2, 0.3][: len(layers)]}
    made = pandas.DataFrame(values)
    if chosen_on == SAME:
        made[["p", "pearson_low", "pearson_high", "ceiling_low", "ceiling_high"]] = np.nan
    return made


def shifted(one, k):
    """Another participant's table: all that is measured is somewhat larger."""
    measured = ["pearson", "spearman", "encoding_r"]
    one[measured] = one[measured] + 0.01 * k
    return one


def test_the_group_has_no_interval_and_no_ceiling_where_one_participant_is_untested():
    ceilings = {BEST_QUARTER: (0.2, 0.4, 12)}
    good = summarise([shifted(table(OTHERS), k) for k in range(6)], ceilings)
    assert good["ceiling_low"] == [0.2] * 3 and np.isfinite(good["pearson_low"]).all()
    bad = summarise([*(shifted(table(OTHERS), k) for k in range(5)), table(SAME)], ceilings)
    assert bad["untested"] == [1] * 3 and np.isfinite(bad["pearson"]).all()
    for name in ("ceiling_low", "ceiling_high", "pearson_low", "encoding_r_high"):
        assert np.isnan(bad[name]).all(), name


def filled(figure) -> int:
    """Number of markers that are filled with a colour."""
    drawn = [c for c in figure.axes[0].collections[-2:] if len(c.get_offsets())]
    faces = np.concatenate([c.get_facecolors() for c in drawn])
    return int(np.count_nonzero((faces[:, :3] < 0.999).any(axis=1)))


def test_untested_regions_are_drawn_open_and_say_so():
    tested = code_figures.similarity_profiles(table(OTHERS))
    assert filled(tested) == 3 and "not tested" not in tested.axes[0].get_title()
    untested = code_figures.similarity_profiles(table(SAME))
    assert filled(untested) == 0 and "not tested" in untested.axes[0].get_title()


def test_tables_of_earlier_versions_count_as_untested():
    old = with_choice(table(OTHERS).drop(columns="chosen_on"))
    assert set(old["chosen_on"]) == {SAME}
    assert old[["p", "pearson_low", "ceiling_high"]].isna().all(axis=None)
    assert with_choice(table(OTHERS))["p"].notna().all()


# ---- through the app


def similarity(out):
    [path] = (out / "sub-01" / "func").glob("*_desc-features_similarity.tsv")
    return pandas.read_table(path, na_values="n/a")


def test_a_test_set_is_compared_from_end_to_end(tiny, app, tmp_path):
    options = ("--participant-label", "01", "--features", tiny.features, "--n-permutations", 0)
    held = ("--test-set", "ses=2")
    assert app(tiny.bids, tmp_path / "out", "participant", *options, *held).code == 0
    found = similarity(tmp_path / "out")
    assert set(found["chosen_on"]) == {TRAINING} and (found["pictures"] == 20).all()
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "compared is the test set. 20 samples chose, 20 are compared" in page


def test_few_pictures_are_not_tested_and_the_page_says_so(tiny, app, tmp_path):
    for session in ("1", "2"):
        lines = tiny.events(session).read_text().splitlines(keepends=True)
        tiny.events(session).write_text("".join(lines[:6]))
    options = ("--participant-label", "01", "--features", tiny.features, "--n-permutations", 0)
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0 and "too few to be divided" in end.said
    found = similarity(tmp_path / "out")
    assert set(found["chosen_on"]) == {SAME}
    assert found[["p", "pearson_low", "pearson_high"]].isna().all(axis=None)
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "there is no p, no interval and no noise ceiling" in page and "“not tested”" in page
    assert app(tiny.bids, tmp_path / "out", "group").code == 0
    [path] = (tmp_path / "out").glob("*_desc-features_groupsimilarity.tsv")
    assert (pandas.read_table(path)["untested"] == 1).all()
    assert "“Not tested”" in (tmp_path / "out" / "group.html").read_text()


def test_versions_of_an_acquisition_are_refused_in_the_plan(tiny, app, tmp_path):
    raw = tiny.bold("1")
    for name in ("raw", "dico"):
        copy = raw.with_name(raw.name.replace("_bold", f"_acq-{name}_bold"))
        copy.write_bytes(raw.read_bytes())
        events = tiny.events("1")
        name = events.name.replace("_events", f"_acq-{name}_events")
        events.with_name(name).write_bytes(events.read_bytes())
    raw.unlink()
    tiny.events("1").unlink()
    options = ("--participant-label", "01", "--features", tiny.features, "--dry-run")
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 65 and "versions of one acquisition" in end.err
    assert '{"bold": {"acquisition": "dico"}}' in end.err
    chosen = tmp_path / "filter.json"
    chosen.write_text('{"bold": {"acquisition": ["dico", null]}}')
    end = app(tiny.bids, tmp_path / "out", "participant", *options, "--bids-filter-file", chosen)
    assert end.code == 0, end.err
