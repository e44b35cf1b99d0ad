"""What DualFormer's tables share: sizes of models, pyramids, token labels.

Printed FLOPs leave out the classifier and count a multiply-add once, and five
for every number that a layer norm takes, which are in the reference counts and
not in ours: less than half a percent.

Two pyramids made the tables. The main results, windows and rates are those of
the released code, whose last stage looks at every token. Most of Tables 4 and 6
fits only a last stage pooled to (8, 7, 7), as Table 1 prints it.
"""

from collections.abc import Mapping
from typing import Any

from vidmodels.analysis.paper_rows import Row

# Parameters that the authors' code counts, without the classifier.
PARAMS = {'tiny': 21_767_360, 'small': 48_908_064, 'base': 86_837_632}
# Billions of multiply-adds of a view of 32 frames, by the tool that the authors
# used (fvcore).
GMACS = {'tiny': 60.09, 'small': 158.69, 'base': 267.96}

FINE, COARSE = (8, 7, 7), (4, 4, 4)
LAST_POOLED: dict[str, Any] = {'model.fine': (FINE,) * 4}
# Kernels keep their size where time is shorter: targets in time are its half
# and its quarter.
HALF, QUARTER = (4, 7, 7), (2, 4, 4)
# 16 frames, 4 apart; kernels stay those of 32 frames, as the printed 28 GFLOPs
# say: built for 16 they would need 29.87.
SHORT: dict[str, Any] = {'clip.frames': 16, 'clip.stride': 4.0}

LABELLED = {'model.token_head': True}
TEACHER = 'table2:DualFormer-B (IN-1K), K400'
TINY = 'table2:DualFormer-T, K400'
NO_IMAGE_WEIGHTS = (
  "The authors' ImageNet weights were not published; Twins-SVT's fill all but "
  'the pyramids.'
)
NO_21K_WEIGHTS = (
  "The authors' ImageNet-21k weights were not published, nor any other of this "
  'shape.'
)


def counted(
  params_m: str = '',
  flops: float | None = None,
  counted_gmacs: float | None = None,
  params: int | None = None,
  *,
  views: int = 4,
) -> dict[str, Any]:
  """Fields of a printed size and of printed FLOPs of so many views."""
  return {
    'params_m': params_m,
    'gmacs': None if flops is None else flops / views,
    'gmacs_from': f'{flops:g} / {views}' if flops and views > 1 else '',
    'reference_params': params,
    'reference_gmacs': counted_gmacs,
    # The head for token labels is of training alone.
    'params_without': '^(token_)?head/' if params_m or params else '',
    'macs_without': '^head$' if flops else '',
  }


def ablation(
  name: str,
  changes: Mapping[str, Any],
  figures: Mapping[str, float],
  base: str,
  **more: Any,
) -> Row:
  """A row of Tables 4 to 8: the tiny model on Kinetics-400.

  `base` is the row with nothing changed, which is Table 2's run.
  """
  default = name == base
  return Row(
    name=name,
    recipe='dualformer:tiny,k400,paper',
    overrides={**LABELLED, **changes},
    figures=figures,
    trained_as=TINY if default else '',
    teacher='' if default else TEACHER,
    differs_from='' if default else base,
    differs_in=() if default else tuple(changes),
    missing='' if default else NO_IMAGE_WEIGHTS,
    **more,
  )


LABELS_NOTE = (
  'The default row has the figures of Table 2, where the tiny model is trained '
  'with token labels, so every row is trained with them; the paper does not '
  'say so.'
)
