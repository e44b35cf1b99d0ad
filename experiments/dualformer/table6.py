"""DualFormer, Table 6: how the pyramid is pooled."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import (
  GMACS,
  LABELS_NOTE,
  LAST_POOLED,
  PARAMS,
  ablation,
  counted,
)

DEFAULT = 'DWConv'
MEANS = (
  'means have no weights, which leaves 21.73 million parameters: the printed '
  '21.8 is the figure with depthwise kernels'
)
# Method: what it changes, GFLOPs of one view, millions of parameters, top-1,
# and billions of multiply-adds of a view by the authors' tool.
METHODS: dict[str, tuple[Any, ...]] = {
  'AvgPool': (
    {'model.pooling': 'average', **LAST_POOLED},
    *(59, '21.8', 78.7, 59.04),
  ),
  'Conv': (
    {'model.pooling': 'dense', **LAST_POOLED},
    *(61, '27.6', 79.5, 61.31),
  ),
  DEFAULT: ({}, 60, '21.8', 79.5, GMACS['tiny']),
}

TABLE = PaperTable(
  source='DualFormer, Table 6',
  title='means, dense and depthwise convolutions to pool the pyramid',
  rows=tuple(
    ablation(
      name,
      changes,
      top(top1),
      DEFAULT,
      why=MEANS if name == 'AvgPool' else '',
      **counted(
        params_m,
        flops,
        gmacs,
        PARAMS['tiny'] if name == DEFAULT else None,
        views=1,
      ),
    )
    for name, (changes, flops, params_m, top1, gmacs) in METHODS.items()
  ),
  notes=(
    'FLOPs are of one view here, of four in the other tables. AvgPool and Conv '
    'give the printed costs only with a last stage pooled to (8, 7, 7), the '
    f'default only without. {LABELS_NOTE}'
  ),
)
