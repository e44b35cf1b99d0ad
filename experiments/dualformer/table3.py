"""DualFormer, Table 3: Diving-48, HMDB-51 and UCF-101."""

from collections.abc import Iterator
from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import GMACS, NO_IMAGE_WEIGHTS, counted

SETS = {'Diving-48': 'diving48', 'HMDB-51': 'hmdb51', 'UCF-101': 'ucf101'}
# Method: GFLOPs of all views, the number of views, and top-1 of the three sets.
OTHERS: dict[str, tuple[Any, ...]] = {
  'I3D': (None, None, None, 74.3, 95.1),
  'TSM': (None, None, None, 70.7, 94.5),
  'TeiNet': (None, None, None, 73.3, 96.7),
  'SlowFast': (None, None, 77.6, None, None),
  'VidTr-M': (5370, 30, None, 74.4, 96.6),
  'VidTr-L': (10530, 30, None, 74.4, 96.7),
  'TimeSformer': (590, 3, 75.0, None, None),
  'TimeSformer-L': (7140, 3, 81.0, None, None),
}
T_16 = 27.84  # billions of multiply-adds of 16 frames, by the authors' tool
ON_T, ON_S = 'table2:DualFormer-T, K400', 'table2:DualFormer-S, K400'


def _others() -> Iterator[Row]:
  """Rows of other systems, one a printed accuracy."""
  for method, (flops, views, *figures) in OTHERS.items():
    cost: dict[str, Any] = {}
    if flops:
      cost = {'gmacs': flops / views, 'gmacs_from': f'{flops} / {views}'}
    for name, value in zip(SETS, figures, strict=True):
      if value is not None:
        yield Row(name=f'{method}, {name}', figures=top(value), **cost)
        cost = {}  # once a printed line


def _ours(
  label: str,
  size: str,
  start: str,
  figures: tuple[float, ...],
  cost: dict[str, Any],
  *,
  crops: int = 1,
  base: str = '',
  differs_in: tuple[str, ...] = (),
  trained: bool = True,
  missing: str = '',
) -> Iterator[Row]:
  """The three rows of one of the paper's own lines."""
  for (name, dataset), value in zip(SETS.items(), figures, strict=True):
    first = name == next(iter(SETS))
    yield Row(
      name=f'DualFormer-{label}, {name}',
      recipe=f'dualformer:{size},{dataset},paper',
      overrides={'views.spatial': crops},
      start=start,
      trained_as='' if trained else f'{base}, {name}',
      figures=top(value),
      differs_from=f'{base}, {name}' if base else '',
      differs_in=differs_in,
      missing=missing,
      **(cost if first else {}),
    )


SHORT = counted('', 28, T_16, views=1)
ROWS = (
  *_others(),
  *_ours(
    'T*',
    'tiny',
    'imagenet-1k',
    (75.4, 74.6, 96.3),
    SHORT,
    missing=NO_IMAGE_WEIGHTS,
  ),
  *_ours(
    'T',
    'tiny',
    ON_T,
    (75.9, 75.0, 96.6),
    SHORT,
    base='DualFormer-T*',
    differs_in=('start', 'init_expects'),
  ),
  *_ours(
    'S 4x1',
    'small',
    ON_S,
    (81.2, 76.2, 97.4),
    counted('', 636, GMACS['small']),
  ),
  *_ours(
    'S 4x3',
    'small',
    ON_S,
    (81.8, 76.4, 97.5),
    counted('', 1908, GMACS['small'], views=12),
    crops=3,
    base='DualFormer-S 4x1',
    differs_in=('views.spatial',),
    trained=False,
  ),
)

TABLE = PaperTable(
  source='DualFormer, Table 3',
  title='transfer to three small data sets',
  rows=ROWS,
  notes=(
    'T* starts from ImageNet-1K, the others from their Kinetics-400 runs. '
    'FLOPs are of one view for the tiny model (28) and of all views for every '
    'other. HMDB-51 and UCF-101 are tested on split 1. Training is that of '
    'section 4.1; the released configurations have other batches, decays, drop '
    'paths and, on Diving-48, 30 epochs.'
  ),
)
