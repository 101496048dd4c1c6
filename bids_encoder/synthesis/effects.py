"""Contrasts over pictures: effect and t from predicted (or measured) responses.

The noise model is that of a one-way analysis of variance over pictures: those of a
condition are a sample of all the pictures that it stands for, with one variance for all
conditions. With w_c the weights, m_c, n_c the mean and the number of pictures of condition
c, and s² the pooled variance within conditions::

    effect = Σ w_c m_c        t = effect / √(s² Σ w_c² / n_c)        Σ (n_c − 1) degrees

A t says how sure the sign of the effect is over pictures, not what a scanner's noise
would leave of it: predictions have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effect:
    """A contrast in V voxels.

    Attributes
    ----------
    effect : (V,) float64
        In the units of the responses.
    variance : (V,) float64
        Of the effect.
    dof : int
        Degrees of freedom.
    """

    effect: np.ndarray
    variance: np.ndarray
    dof: int

    @property
    def t(self) -> np.ndarray:
        """Effect over its standard error, (V,); NaN where nothing varies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self.effect / np.sqrt(self.variance)
        return np.where(np.isfinite(t), t, np.nan)


def contrast_pictures(
    responses: np.ndarray, conditions: Sequence[str], weights: Mapping[str, float]
) -> Effect:
    """Compare conditions, each a sample of pictures.

    Parameters
    ----------
    responses : (n, V) array
        One row a picture.
    conditions : sequence of n str
        Of each row.
    weights : mapping of str to float
        By condition; each has at least one row, and all together more rows than conditions.

    Returns
    -------
    Effect

    Raises
    ------
    ValueError
        A condition has no rows, or there is nothing to take the variance from.
    """
    condition = np.asarray(conditions)
    effect = np.zeros(responses.shape[1])
    squares = np.zeros(responses.shape[1])
    spread, dof = 0.0, 0
    for name, weight in weights.items():
        rows = np.asarray(responses[condition == name], dtype=np.float64)
        if not len(rows):
            raise ValueError(f"no picture of condition {name}")
        mean = rows.mean(0)
        effect += weight * mean
        squares += np.square(rows - mean).sum(0)
        spread += weight**2 / len(rows)
        dof += len(rows) - 1
    if dof < 1:
        raise ValueError("one picture a condition: nothing to take the variance from")
    return Effect(effect, squares / dof * spread, dof)


def combine(effects: Sequence[Effect]) -> Effect:
    """Mean of independent estimates of one contrast (fixed effects, equal weights)."""
    return Effect(
        np.mean([one.effect for one in effects], axis=0),
        np.sum([one.variance for one in effects], axis=0) / len(effects) ** 2,
        sum(one.dof for one in effects),
    )
