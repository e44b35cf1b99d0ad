"""DualFormer, Table 5: windows of local levels, and frames."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import GMACS, LABELS_NOTE, SHORT, ablation, counted

DEFAULT = '32x2, 8x7x7'


def _window(*window: int) -> dict[str, Any]:
  return {'model.windows': (window,) * 4}


# Input and window: what it changes, GFLOPs of four views, top-1 and top-5, and
# billions of multiply-adds of a view by the authors' tool.
WINDOWS: dict[str, tuple[Any, ...]] = {
  '16x4, 4x7x7': ({**SHORT, **_window(4, 7, 7)}, 104, 78.0, 93.2, 25.96),
  '16x4, 8x7x7': (SHORT, 112, 78.4, 93.3, 27.84),
  '32x2, 4x7x7': (_window(4, 7, 7), 224, 79.1, 93.9, 56.31),
  DEFAULT: ({}, 240, 79.5, 94.1, GMACS['tiny']),
  '32x2, 16x7x7': (_window(16, 7, 7), 272, 79.7, 94.4, 67.64),
  '32x2, 8x14x14': (_window(8, 14, 14), 324, 79.7, 94.5, 80.86),
}

TABLE = PaperTable(
  source='DualFormer, Table 5',
  title='windows of local attention, on 16 and on 32 frames',
  rows=tuple(
    ablation(
      name,
      changes,
      top(top1, top5),
      DEFAULT,
      **counted('', flops, gmacs),
    )
    for name, (changes, flops, top1, top5, gmacs) in WINDOWS.items()
  ),
  notes=(
    'Windows are at most the grid: the last stage has 7 x 7 places. With 16 '
    'frames the pooling kernels stay those of 32, as the printed FLOPs say. '
    f'{LABELS_NOTE}'
  ),
)
