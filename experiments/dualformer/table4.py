"""DualFormer, Table 4: patterns of local and global levels, and scales."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import (
  FINE,
  GMACS,
  LABELS_NOTE,
  LAST_POOLED,
  PARAMS,
  ablation,
  counted,
)

DEFAULT = '(LG, LG, LG, LG)'


def _patterns(*stages: str) -> dict[str, Any]:
  return {'model.patterns': stages}


# Variant: what it changes, GFLOPs of four views, millions of parameters, top-1
# and top-5, and billions of multiply-adds of a view by the authors' tool.
VARIANTS: dict[str, tuple[Any, ...]] = {
  '(LL, LL, LL, LL)': (
    _patterns('LL', 'LL', 'LL', 'LL'),
    *(244, '21.7', 78.4, 93.3, 61.43),
  ),
  '(GG, GG, GG, GG)': (
    {**_patterns('GG', 'GG', 'GG', 'GG'), **LAST_POOLED},
    *(228, '21.8', 77.6, 93.2, 56.67),
  ),
  '(LL, LL, LG, LG)': (
    {**_patterns('LL', 'LL', 'LG', 'LG'), **LAST_POOLED},
    *(236, '21.7', 78.8, 93.5, 59.23),
  ),
  '(LG, LG, LL, LL)': (
    _patterns('LG', 'LG', 'LL', 'LL'),
    *(244, '21.8', 79.3, 94.0, 61.25),
  ),
  '(LG1, LG1, LG1, LG1)': (
    {'model.fine': ((), (), FINE, (16, 7, 7))},
    *(224, '21.8', 78.4, 93.4, 56.29),
  ),
  '(LG2, LG2, LG2, LG2)': (
    {'model.coarse': ((),) * 4, **LAST_POOLED},
    *(232, '21.8', 79.3, 93.9, 58.43),
  ),
  DEFAULT: ({}, 240, '21.8', 79.5, 94.1, GMACS['tiny']),
}

TABLE = PaperTable(
  source='DualFormer, Table 4',
  title='local and global levels in each stage, and one scale of the pyramid',
  rows=tuple(
    ablation(
      name,
      changes,
      top(top1, top5),
      DEFAULT,
      **counted(
        params_m, flops, gmacs, PARAMS['tiny'] if name == DEFAULT else None
      ),
    )
    for name, (changes, flops, params_m, top1, top5, gmacs) in VARIANTS.items()
  ),
  notes=(
    'The text says that hyper-parameters were tuned slightly to keep the costs '
    'equal. The rows have the pyramids that give the printed FLOPs: the last '
    'stage is pooled to (8, 7, 7) for (GG, ...), (LL, LL, LG, LG) and LG2, and '
    'looks at every token in the others. LG1 drops the fine scale where there '
    f'are two, in the first two stages. {LABELS_NOTE}'
  ),
)
