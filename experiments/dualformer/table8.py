"""DualFormer, Table 8: frames merged in a patch or at the entry of a stage."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import (
  COARSE,
  FINE,
  GMACS,
  HALF,
  LABELS_NOTE,
  LAST_POOLED,
  PARAMS,
  QUARTER,
  ablation,
  counted,
)

DEFAULT = '1,1,1, patch (2,4,4)'
LONG = {
  'model.patch_frames': 4,
  'model.fine': (HALF, HALF, HALF, FINE),
  'model.coarse': (QUARTER, QUARTER, (), ()),
}
EARLY = {
  'model.rates': (2, 1, 1),
  'model.fine': (FINE, HALF, HALF, FINE),
  'model.coarse': (COARSE, QUARTER, (), ()),
}
MIDDLE = {
  'model.rates': (1, 2, 1),
  'model.fine': (FINE, FINE, HALF, FINE),
}
LATE = {'model.rates': (1, 1, 2), **LAST_POOLED}
# Rates and patch: what they change, GFLOPs of four views, millions of
# parameters, top-1 and top-5, and billions of multiply-adds of a view by the
# authors' tool.
RATES: dict[str, tuple[Any, ...]] = {
  '1,1,1, patch (4,4,4)': (LONG, 112, '21.8', 78.5, 93.3, 28.00),
  '2,1,1, patch (2,4,4)': (EARLY, 136, '21.8', 78.7, 93.5, 34.01),
  '1,2,1, patch (2,4,4)': (MIDDLE, 152, '21.9', 78.8, 93.5, 38.25),
  '1,1,2, patch (2,4,4)': (LATE, 216, '22.3', 79.2, 93.9, 53.88),
  DEFAULT: ({}, 240, '21.8', 79.5, 94.1, GMACS['tiny']),
}

TABLE = PaperTable(
  source='DualFormer, Table 8',
  title='resolution in time that falls in a patch or from stage to stage',
  rows=tuple(
    ablation(
      name,
      changes,
      top(top1, top5),
      DEFAULT,
      tiny_set='motion',
      **counted(
        params_m, flops, gmacs, PARAMS['tiny'] if name == DEFAULT else None
      ),
    )
    for name, (changes, flops, params_m, top1, top5, gmacs) in RATES.items()
  ),
  notes=(
    'Pooling kernels keep their size where time is shorter, which the printed '
    'costs say: targets in time are half or a quarter. A last stage of 8 '
    'frames is its own fine scale, so every token is a key. Token labels of '
    'the teacher are averaged over time to the frames of the last stage. '
    f'{LABELS_NOTE}'
  ),
)
