"""DualFormer, Table 2: Kinetics-400 and Kinetics-600."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import (
  GMACS,
  LABELLED,
  NO_21K_WEIGHTS,
  NO_IMAGE_WEIGHTS,
  PARAMS,
  counted,
)

# Method: views, GFLOPs of all views (None where the views are not printed),
# millions of parameters, top-1 and top-5 of K400, and of K600.
OTHERS: dict[str, tuple[Any, ...]] = {
  'R(2+1)D': (10, 750, '61.8', (72.0, 90.0)),
  'I3D': (None, 108, '25.0', (72.1, 90.3)),
  'SlowFast+NL': (30, 7020, '59.9', (79.8, 93.9), (81.8, 95.1)),
  'X3D-XL': (30, 1452, '11.0', (79.1, 93.9), (81.9, 95.5)),
  'X3D-XXL': (30, 5823, '20.3', (80.4, 94.6)),
  'ip-CSN-152': (30, 3270, '32.8', (82.5, 95.3)),
  'ViT-B-VTN': (1, 4218, '11.0', (78.6, 93.7)),
  'TimeSformer-L': (3, 7140, '121.4', (80.7, 94.7), (82.2, 95.5)),
  'MViT-B, 32x3': (5, 850, '36.6', (80.2, 94.4), (83.8, 96.3)),
  'MViT-B, 64x3': (9, 4095, '36.6', (81.2, 95.1)),
  'VidTr-L': (30, 10530, '', (78.6, 93.5)),
  'X-ViT (16x)': (3, 850, '', (80.2, 94.7), (84.5, 96.3)),
  'ViViT-L/16x2 (IN-21K)': (12, 17352, '310.8', (80.6, 94.7), (82.5, 95.6)),
  'ViViT-L/16x2 (JFT)': (12, 17352, '310.8', (82.8, 95.5), (84.3, 96.2)),
  'Swin-T': (12, 1056, '28.2', (78.8, 93.6)),
  'Swin-S': (12, 1992, '49.8', (80.6, 94.5)),
  'Swin-B (IN-1K)': (12, 3384, '88.1', (80.6, 94.6)),
  'Swin-B (IN-21K)': (12, 3384, '88.1', (82.7, 95.5), (84.0, 96.5)),
}


def _others() -> list[Row]:
  """Rows of other systems, one a data set."""
  rows = []
  for method, (views, flops, params_m, *figures) in OTHERS.items():
    cost: dict[str, Any] = {'gmacs_from': f'{flops} for all views'}
    if views:
      cost = {'gmacs': flops / views, 'gmacs_from': f'{flops} / {views}'}
    for name, pair in zip(('K400', 'K600'), figures, strict=False):
      first = name == 'K400'
      more = {'params_m': params_m, **cost} if first else {}
      rows.append(Row(name=f'{method}, {name}', figures=top(*pair), **more))
  return rows


def _ours(
  name: str,
  size: str,
  figures: dict[str, float],
  cost: tuple[str, int] | None,
  *,
  dataset: str = 'k400',
  **more: Any,
) -> Row:
  """A row of the paper's own models; `cost` as printed."""
  labelled = LABELLED if size != 'base' else {}
  teacher = 'DualFormer-B (IN-1K), K400' if labelled else ''
  fields = {'missing': NO_IMAGE_WEIGHTS, 'teacher': teacher, **more}
  if cost:
    fields |= counted(*cost, GMACS[size], PARAMS[size])
  return Row(
    name=f'DualFormer-{name}, {dataset.upper()}',
    recipe=f'dualformer:{size},{dataset},paper',
    overrides=labelled,
    figures=figures,
    **fields,
  )


B_1K, B_21K = 'DualFormer-B (IN-1K), K400', 'DualFormer-B (IN-21K), K400'
IN_21K = {'missing': NO_21K_WEIGHTS}
ROWS = (
  *_others(),
  _ours('T', 'tiny', top(79.5, 94.1), ('21.8', 240)),
  _ours('S', 'small', top(80.6, 94.9), ('48.9', 636)),
  _ours('B (IN-1K)', 'base', top(81.1, 95.0), ('86.8', 1072)),
  _ours(
    'B (IN-21K)',
    'base',
    top(82.9, 95.5),
    ('86.8', 1072),
    start='imagenet-21k',
    differs_from=B_1K,
    differs_in=('start', 'init_expects'),
    **IN_21K,
  ),
  _ours(
    'B (IN-21K)',
    'base',
    top(85.2, 96.6),
    None,
    dataset='k600',
    start='imagenet-21k',
    differs_from=B_21K,
    differs_in=('data.dir',),
    **IN_21K,
  ),
)

TABLE = PaperTable(
  source='DualFormer, Table 2',
  title='the models on Kinetics-400 and Kinetics-600',
  rows=ROWS,
  notes=(
    'FLOPs are printed for all views. Tiny and small are trained with token '
    'labels of the base model (section 4.1); which of the released files were '
    'is not known. The release trains the base model on Kinetics-600 at half '
    'the printed rate. TimeSformer, VidTr and X-ViT have tables of their own; '
    'here they are printed as they were known to the authors. ViT-B-VTN is '
    'printed with the 11.0 million parameters of X3D-XL.'
  ),
)
