"""This process does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.compute.fit_job import FitJob, training_kernel
from bids_encoder.config.settings import Settings
from bids_encoder.encoding.ridge import Fit, fit
from bids_encoder.errors import naming
from bids_encoder.features.kernels import where
from bids_encoder.stimuli.segments import Segment


@dataclass(frozen=True)
class Local:
    """Computes where it is called.

    Attributes
    ----------
    device : str
        "cpu" or "cuda".
    """

    device: str

    def extract(
        self,
        settings: Settings,
        stimuli: Mapping[str, Path | Segment],
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Nothing: features are computed when the store is opened."""

    def fit(
        self,
        problem: FitJob,
        layers: Sequence[str],
        kernel: Callable[[str], np.ndarray],
        *,
        mem_bytes: int,
        on_progress: Callable[[float], None],
    ) -> Iterator[Fit]:
        """Fit layer after layer, each when it is asked for."""

        def told(n: int) -> Callable[[float], None]:
            return lambda share: on_progress((n + share) / len(layers))

        for number, layer in enumerate(layers):
            with naming(**where(problem.store, layer)):
                found = fit(
                    None,
                    problem.responses,
                    problem.folds,
                    kernel=training_kernel(kernel(layer), problem.training),
                    penalties=problem.penalties,
                    nested=problem.nested,
                    keep_weights=problem.keep_weights,
                    mem_bytes=mem_bytes,
                    device=self.device,
                    on_progress=told(number),
                )
            yield found
