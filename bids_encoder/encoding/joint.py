"""All layers together: banded ridge regression, and what each layer contributes.

The responses y of a voxel are predicted from the features X_l of all layers at once, each layer
with a penalty of its own:

    w, b = argmin ||y - Σ_l X_l w_l - b||² + Σ_l α_l ||w_l||²,      b not penalised

With α_l = α / γ_l and Σ_l γ_l = 1 this is kernel ridge regression with penalty α and the kernel
Σ_l γ_l K_l, where every K_l is scaled to a mean diagonal of 1 (Dupré la Tour, Eickenberg,
Nunez-Elizalde, Gallant 2022, NeuroImage 264, "Feature-space selection with banded ridge
regression"). γ and α are found by the random search of that paper, as himalaya implements it: each
of many γ is tried with each α of a grid, and the best pair by cross-validation is kept, voxel by
voxel. Tried are equal weights, each layer alone, and draws from Dirichlet distributions, half of
them sparse. All of it happens inside the training rows of an outer fold: the scores on the held-out
rows have no selection bias.

On the held-out rows of fold t the prediction is a sum, ŷ = ȳ + Σ_l q_l, with ȳ the mean of the
training responses. With d = y - ȳ and q = Σ_l q_l, the joint score and its split by the product
measure (as in that paper, and in `himalaya.scoring.r2_score_split`) are

    r² = 1 - ||d - q||² / ||y - mean(y)||²
    share_l = (2 d'q_l - q'q_l) / ||y - mean(y)||²

averaged over folds. Shares add up to what r² gains over predicting ȳ, which is r² itself where
each fold has the mean of the others (responses z-scored within the groups that are left out). A
share may be negative: that layer makes the prediction worse. What several layers could explain
alike goes to the layers to which the search gave weight.

The unique contribution of a layer is how much r² falls when the search is done without it,

    unique_l = r² - r²(all layers but l)

which leaves out all that it has in common with other layers, and takes as many further searches as
there are layers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from bids_encoder.encoding.blocks import CHUNK
from bids_encoder.encoding.folds import N_BLOCKS, Fold
from bids_encoder.encoding.inputs import check_features_vary, check_penalties, check_rows, usable
from bids_encoder.encoding.memory import DEFAULT_MEMORY
from bids_encoder.encoding.ridge import Kernels
from bids_encoder.encoding.steps import Steps

log = logging.getLogger(__name__)

# Half as many as for one layer: γ scales the penalties as well.
JOINT_PENALTIES = np.logspace(-3, 5, 10)
N_DRAWS = 30
# Voxels at a time. The last bits of the scores depend on it, so that more memory than the largest
# block takes makes no difference.
SMALLEST_BLOCK, LARGEST_BLOCK = 64, 8 * CHUNK
CONCENTRATIONS = (0.1, 1.0)


@dataclass(frozen=True)
class JointFit:
    """What L layers together predict of V voxels; NaN where a voxel is not valid.

    Attributes
    ----------
    r2 : (V,) float32
        Held-out share of variance, mean over folds.
    pooled_r2 : (V,) float32
        As in `ridge.Fit`: of all held-out rows together.
    shares : (L, V) float32
        Its split by the product measure.
    unique : (L, V) float32, or None
        How much r2 falls without each layer.
    valid : (V,) bool
        As in `ridge.Fit`.
    """

    r2: np.ndarray
    pooled_r2: np.ndarray
    shares: np.ndarray
    unique: np.ndarray | None
    valid: np.ndarray


def fit_joint(
    kernels: Kernels,
    responses: np.ndarray,
    folds: Sequence[Fold],
    *,
    penalties: np.ndarray = JOINT_PENALTIES,
    n_draws: int = N_DRAWS,
    unique: bool = False,
    mem_bytes: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> JointFit:
    """Fit and score one banded ridge model a voxel and fold.

    Parameters
    ----------
    kernels : sequence of L (n, n) arrays
        `linear_kernel(features)` of each layer.
    responses : (n, V) array
    folds : sequence of k Fold
        As for `ridge.fit`. The inner folds are the other outer folds; of two outer folds, the one
        that is left is cut into five blocks.
    penalties : (m,) array
        Grid of α, positive and rising, in units of the mean diagonal of each centred kernel.
    n_draws : int
        How many γ are drawn, beside equal weights and each layer alone.
    unique : bool
        Whether to compute `unique`.
    mem_bytes : int, optional
        About how much memory to use beside the arguments: 4 GiB if not given.
    device : str
        "cpu", or "cuda"; the CPU does the work where the memory of a GPU does not suffice.
    seed : int
        Of the draws.
    on_progress : callable, optional
        Called with the share of the work that is done, from 0 to 1.

    Returns
    -------
    JointFit

    Raises
    ------
    DataError
        A kernel is not finite, or all samples have the same features.
    """
    responses = np.asarray(responses)
    how = {
        "grid": check_penalties(penalties),
        "n_draws": n_draws,
        "unique": unique,
        "memory": mem_bytes or DEFAULT_MEMORY,
        "seed": seed,
        "on_progress": on_progress,
    }
    try:
        return _fit(kernels, responses, folds, device=device, **how)
    except torch.cuda.OutOfMemoryError:
        log.warning("The GPU has too little memory: going on with the CPU.")
        return _fit(kernels, responses, folds, device="cpu", **how)


def _fit(
    kernels, responses, folds, *, grid, n_draws, unique, memory, device, seed, on_progress
) -> JointFit:
    n, n_voxels = responses.shape
    ks = np.stack([_normalised(kernel, n) for kernel in kernels])
    valid = usable(responses, folds)
    columns = np.flatnonzero(valid)
    layers = range(len(ks))
    searches = [list(layers)]
    if unique and len(ks) > 1:
        searches += [[other for other in layers if other != layer] for layer in layers]
    candidates = [_candidates(len(chosen), n_draws, seed) for chosen in searches]
    inner = [_inner_folds(folds, t) for t in range(len(folds))]
    trials = sum(map(len, candidates)) * sum(map(len, inner))
    steps = Steps(on_progress, max(trials * len(columns), 1))
    size = _block_size(n, len(ks), len(grid), len(folds), len(candidates[0]), memory)
    r2 = np.full((len(searches), len(folds), n_voxels), np.nan, np.float32)
    shares = np.full((len(ks), len(folds), n_voxels), np.nan, np.float32)
    sums = np.full((2, len(folds), n_voxels), np.nan, np.float32)  # of errors, of spread
    with _backend(device) as backend:
        for t, fold in enumerate(folds):
            for number, (chosen, gammas) in enumerate(zip(searches, candidates, strict=True)):
                part = backend.asarray(ks[chosen], dtype="float32")
                model = _Model(part, fold, inner[t], gammas, backend.asarray(grid, dtype="float32"))
                for start in range(0, len(columns), size):
                    some = columns[start : start + size]
                    y = np.asarray(responses[:, some], dtype=np.float32)
                    found = model.scores(backend.asarray(y), steps)
                    r2[number, t, some] = found[0]
                    if number == 0:
                        shares[:, t, some], sums[:, t, some] = found[1:]
    joint, shares = r2[0].mean(0), shares.mean(1)
    # Without its only layer a model predicts the mean, and the share says what is lost.
    lost = joint - r2[1:].mean(1) if len(ks) > 1 else shares
    error, spread = sums.sum(1)
    return JointFit(joint, 1 - error / spread, shares, lost if unique else None, valid)


class _Model:
    """The random search inside one training set, and the scores on the rows that it leaves out."""

    def __init__(self, kernels: torch.Tensor, fold: Fold, inner, gammas: np.ndarray, alphas):
        train = torch.from_numpy(fold.train).to(kernels.device)
        test = torch.from_numpy(fold.test).to(kernels.device)
        self.train, self.test = train, test
        self.inner, self.gammas, self.alphas = inner, gammas, alphas
        self.among = kernels[:, train[:, None], train]
        rows = kernels[:, test[:, None], train]
        # Training means are taken off the features of both sides.
        means = self.among.mean(1)
        self.between = (
            rows - rows.mean(2, keepdim=True) - means[:, None] + means.mean(1)[:, None, None]
        )

    def scores(self, y: torch.Tensor, steps: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of voxels y (n, V): r² (V,), shares (L, V), and (2, V) ||d - q||² and ||d||²."""
        from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
        from himalaya.scoring import r2_score

        def score(truth, predictions):
            steps.add(truth.shape[1])
            return r2_score(truth, predictions)

        log_scales, dual, *_ = solve_multiple_kernel_ridge_random_search(
            self.among,
            y[self.train],
            n_iter=self.gammas,
            alphas=self.alphas,
            score_func=score,
            cv=self.inner,
            fit_intercept=True,
            return_weights="dual",
            n_targets_batch=CHUNK,
            n_targets_batch_refit=CHUNK // 4,
            progress_bar=False,
        )
        parts = [
            self._split(y[:, some], log_scales[:, some], dual[:, some].to(y.device))
            for some in torch.arange(y.shape[1], device=y.device).split(CHUNK)
        ]
        joint, shares, sums = (
            torch.cat(one, dim=-1).cpu().numpy() for one in zip(*parts, strict=True)
        )
        return joint, shares, sums

    def _split(self, y, log_scales, dual) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        held_out = y[self.test]
        d = held_out - y[self.train].mean(0)
        total = (held_out - held_out.mean(0)).square().sum(0)
        parts = log_scales.exp()[:, None] * (self.between @ dual)
        q = parts.sum(0)
        error, spread = (d - q).square().sum(0), d.square().sum(0)
        shares = ((2 * d - q) * parts).sum(1) / total
        return 1 - error / total, shares, torch.stack([error, spread])


@contextmanager
def _backend(device: str) -> Iterator:
    """himalaya's backend for a device; afterwards what it was before."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend()
    try:
        yield set_backend("torch_cuda" if torch.device(device).type == "cuda" else "torch")
    finally:
        set_backend(before)


def _normalised(kernel: np.ndarray, n: int) -> np.ndarray:
    """The kernel, centred over all rows (for precision) and scaled to a mean diagonal of 1."""
    check_rows(None, kernel, n)
    kernel = np.asarray(kernel, dtype=np.float64)
    means = kernel.mean(0)
    kernel = kernel - means - means[:, None] + means.mean()
    unit = np.diagonal(kernel).mean()
    check_features_vary(unit)
    return (kernel / unit).astype(np.float32)


def _candidates(n_kernels: int, n_draws: int, seed: int) -> np.ndarray:
    """The γ to be tried, (m, L): equal weights, each kernel alone, random draws."""
    fixed = [np.full((1, n_kernels), 1 / n_kernels), np.eye(n_kernels)]
    if n_kernels == 1:
        return fixed[0]
    rng = np.random.default_rng(seed)
    draws = [
        rng.dirichlet(np.full(n_kernels, CONCENTRATIONS[i % len(CONCENTRATIONS)]))
        for i in range(n_draws)
    ]
    return np.vstack([*fixed, *draws])


def _inner_folds(folds: Sequence[Fold], t: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) inside the training rows of fold t, as places among them."""
    train = folds[t].train
    others = [np.isin(train, fold.test) for s, fold in enumerate(folds) if s != t]
    if len(others) == 1:
        number = np.arange(len(train)) * N_BLOCKS // len(train)
        others = [number == block for block in range(N_BLOCKS)]
    return [(np.flatnonzero(~held), np.flatnonzero(held)) for held in others]


def joint_grid_length(n_penalties: int) -> int:
    """How many penalties the joint model tries, where single layers try `n_penalties`."""
    return max(n_penalties // 2, 2)


def joint_bytes(
    n: int,
    n_voxels: int,
    n_kernels: int,
    *,
    n_draws: int = N_DRAWS,
    unique: bool = False,
    n_folds: int = 10,
    n_penalties: int = len(JOINT_PENALTIES),
    mem_bytes: int,
) -> int:
    """About how much memory :func:`fit_joint` takes, beside its arguments.

    Parameters
    ----------
    n, n_voxels, n_kernels : int
        Samples, voxels and layers.
    n_draws, unique
        As for :func:`fit_joint`.
    n_folds, n_penalties : int
        At most.
    mem_bytes : int
        What it is allowed; the matrices cannot be made smaller.
    """
    sizes = (n, n_kernels, n_penalties, n_folds, 1 + n_kernels + n_draws)
    fixed, per_voxel = _sizes(*sizes)
    block = min(_block_size(*sizes, mem_bytes), n_voxels)
    # The scores of each fold, and a kernel in double precision with its centred copy.
    scores = 4 * n_folds * n_voxels * (n_kernels + 1 + (n_kernels if unique else 0))
    return fixed + block * per_voxel + scores + 3 * 8 * n * n


def _sizes(
    n: int, n_kernels: int, n_penalties: int, n_folds: int, n_candidates: int
) -> tuple[int, int]:
    """Bytes that do not depend on the block, and those of each voxel in it."""
    matrices = 4 * n * n * (4 * n_kernels + 2 * n_penalties)
    chunk = 4 * CHUNK * n * (3 * n_penalties // n_folds + n_kernels)
    # Responses, centred ones, duals, and a copy of each for voxels whose best γ has changed.
    return matrices + chunk, 4 * (6 * n + n_folds * n_penalties + n_candidates)


def _block_size(
    n: int, n_kernels: int, n_penalties: int, n_folds: int, n_candidates: int, memory: int
) -> int:
    """Voxels at a time."""
    fixed, per_voxel = _sizes(n, n_kernels, n_penalties, n_folds, n_candidates)
    size = int((memory - fixed) // per_voxel)
    return min(max(size, SMALLEST_BLOCK), LARGEST_BLOCK)
