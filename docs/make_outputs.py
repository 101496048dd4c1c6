"""Write docs/outputs.md from bids_encoder/derivatives/outputs.json: python docs/make_outputs.py"""

from __future__ import annotations

from pathlib import Path

from bids_encoder.derivatives.dataset_description import file_table

PAGE = Path(__file__).with_name("outputs.md")
TEXT = """\
# What comes out

A BIDS Derivatives dataset, which the BIDS validator accepts. This page is made by
`docs/make_outputs.py` from `bids_encoder/derivatives/outputs.json`, where every file is declared
once.

{table}

Names in braces stand for labels; what is in square brackets may be absent.

- Every data file has a JSON file beside it that says what the values are, from which files
  (`Sources`) and with which `Settings` and `SoftwareVersions` they come. `SettingsHash` is how a
  second run knows what is done already; `FileChecksums` and `SidecarChecksum` show what was damaged
  or edited since ([reliability](reliability.md)).
- BOLD on surfaces has maps in its own format: for `.nii.gz` stand `.func.gii` and `.label.gii`,
  one file a hemisphere (`hemi-L`, `hemi-R`), or `.dscalar.nii` and `.dlabel.nii`; see
  [surfaces](surfaces.md).
- A voxel outside the mask, or without a score, is NaN in the maps: 0 is a score.
- `descriptions.tsv` says what the `desc-` labels stand for; they hold letters, digits and `+`
  only, so that layer `features.1` of `alexnet` becomes `desc-alexnet+features1`.
- Weights are dual coefficients (samples × voxels): ŷ(x) = Σᵢ aᵢ ⟨x, xᵢ⟩ + b, with the features of
  the samples xᵢ (`stimuli`; in continuous designs mixed by `shares` at the `delays`).
  `--save-weights primal` writes features × voxels instead.
- `.bidsignore` lists what the standard has no names for yet: `stat-` maps, tables of scores,
  weights.
- `logs/` and `sub-XX/log/` hold the settings of each run, and the tracebacks of bugs.
"""


def page() -> str:
    """The page as it should be."""
    return TEXT.format(table=file_table())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
