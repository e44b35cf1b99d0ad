"""DualFormer (arXiv 2112.04674): its tables, which print FLOPs of four views.

Figures leave out the classifier and count a multiply-add once, and five for
every number that a layer norm takes, which are in the reference counts and not
in ours: less than half a percent.

Two pyramids made these tables. The main results, windows and rates are those of
the released code, whose last stage looks at every token. Most of Tables 4 and 6
fits only a last stage pooled to (8, 7, 7), as Table 1 prints it. Table 1's
coarse scale in the third stage fits neither: the base model would need 269.
"""

from typing import Any

from vidmodels.analysis.published import CountedModel, PaperRow

SMALL = dict(
  widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
)
BASE = dict(
  widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
)
# Parameters that the authors' code counts.
COUNTED = {'T': 21_767_360, 'S': 48_908_064, 'B': 86_837_632}
FINE, COARSE = (8, 7, 7), (4, 4, 4)
LAST_POOLED: dict[str, Any] = dict(fine=(FINE,) * 4)
# Kernels keep their size where time is shorter: targets in time are its half
# and its quarter.
HALF, QUARTER = (4, 7, 7), (2, 4, 4)

# Patterns of the stages, millions of parameters, billions of multiply-adds
# printed, and those that the authors' code counts.
TABLE_4: tuple[tuple[str, str, int, float], ...] = (
  ('LL,LL,LL,LL', '21.7', 61, 61.43),
  ('GG,GG,GG,GG', '21.8', 57, 56.67),
  ('LL,LL,LG,LG', '21.7', 59, 59.23),
  ('LG,LG,LL,LL', '21.8', 61, 61.25),
)
# Name, window of all stages, frames, FLOPs printed of four views, counted.
TABLE_5 = (
  ('4x7x7, 16x4', (4, 7, 7), 16, 104, 25.96),
  ('4x7x7, 32x2', (4, 7, 7), 32, 224, 56.31),
  ('16x7x7', (16, 7, 7), 32, 272, 67.64),
  ('8x14x14', (8, 14, 14), 32, 324, 80.86),
)
# Name; rates, frames of a patch, fine and coarse targets; then as above.
TABLE_8: tuple[tuple[str, dict[str, Any], str, int, float], ...] = (
  (
    '1,1,1 patch (4,4,4)',
    dict(
      patch_frames=4,
      fine=(HALF, HALF, HALF, FINE),
      coarse=(QUARTER, QUARTER, (), ()),
    ),
    '21.8',
    112,
    28.00,
  ),
  (
    '2,1,1',
    dict(
      rates=(2, 1, 1),
      fine=(FINE, HALF, HALF, FINE),
      coarse=(COARSE, QUARTER, (), ()),
    ),
    '21.8',
    136,
    34.01,
  ),
  (
    '1,2,1',
    dict(rates=(1, 2, 1), fine=(FINE, FINE, HALF, FINE)),
    '21.9',
    152,
    38.25,
  ),
  (
    '1,1,2',
    dict(rates=(1, 1, 2), fine=(FINE, FINE, FINE, FINE)),
    '22.3',
    216,
    53.88,
  ),
)
MEANS = (
  'means have no weights, which leaves 21.73 million parameters: the printed '
  '21.8 is the figure with depthwise kernels'
)


def _row(
  config: str,
  table: str,
  model: dict[str, Any],
  params_m: str = '',
  gmacs: int | None = None,
  counted: float | None = None,
  *,
  frames: int = 32,
  params: int | None = None,
  why: str = '',
) -> PaperRow:
  """One row; `counted` and `params` are what the authors' code has."""
  part = CountedModel(family='dualformer', model=model, clip=(frames, 224, 224))
  return PaperRow(
    config=config,
    source=f'DualFormer {table}',
    parts=(part,),
    params_m=params_m,
    gmacs=gmacs,
    reference_params=params,
    reference_gmacs=counted,
    params_without='^head/',
    macs_without='^head$',
    why=why,
  )


def _main(
  config: str,
  table: str,
  model: dict[str, Any],
  params_m: str,
  flops: int,
  counted: float,
  *,
  frames: int = 32,
) -> PaperRow:
  """A row of the main results: a released model, FLOPs of four views."""
  return _row(
    config,
    f'{table}: {flops} / 4',
    model,
    params_m,
    flops // 4,
    counted,
    frames=frames,
    params=COUNTED[config[0]],
  )


def _patterns(stages: str) -> dict[str, Any]:
  """The fields of a row of Table 4, by the patterns of its stages."""
  patterns = tuple(stages.split(','))
  more = {} if 'G' not in patterns[3] else LAST_POOLED
  return {'patterns': patterns, **more}


ROWS = (
  _main('T 32x2', 'Table 2', {}, '21.8', 240, 60.09),
  _main('S 32x2', 'Tables 2, 3', SMALL, '48.9', 636, 158.69),
  _main('B 32x2 IN-1K', 'Table 2', BASE, '86.8', 1072, 267.96),
  _main('B 32x2 IN-21K', 'Table 2', BASE, '86.8', 1072, 267.96),
  # Built for 32 frames; one built for 16 has finer kernels and needs 29.87.
  _main('T 16x4', 'Tables 3, 5', {}, '', 112, 27.84, frames=16),
  *(
    _row(f'T {row[0]}', 'Table 4 / 4', _patterns(row[0]), *row[1:])
    for row in TABLE_4
  ),
  _row(
    'T LG1 everywhere (4,4,4)',
    'Table 4: 224 / 4',
    {'fine': ((), (), FINE, (16, 7, 7))},
    '21.8',
    56,
    56.29,
  ),
  _row(
    'T LG2 everywhere (8,7,7)',
    'Table 4: 232 / 4',
    {'coarse': ((),) * 4, **LAST_POOLED},
    '21.8',
    58,
    58.43,
  ),
  *(
    _row(
      f'T window {name}',
      f'Table 5: {flops} / 4',
      {'windows': (window,) * 4},
      '',
      flops // 4,
      counted,
      frames=frames,
    )
    for name, window, frames, flops, counted in TABLE_5
  ),
  _row(
    'T downsample AvgPool',
    'Table 6',
    {'pooling': 'average', **LAST_POOLED},
    '21.8',
    59,
    59.04,
    why=MEANS,
  ),
  _row(
    'T downsample Conv',
    'Table 6',
    {'pooling': 'dense', **LAST_POOLED},
    '27.6',
    61,
    61.31,
  ),
  *(
    _row(f'T {position} position', 'Table 7', {'position': field})
    for position, field in (
      ('no', 'none'),
      ('absolute', 'absolute'),
      ('relative', 'relative'),
    )
  ),
  *(
    _row(
      f'T temporal pool {name}',
      f'Table 8: {flops} / 4',
      model,
      params_m,
      flops // 4,
      counted,
    )
    for name, model, params_m, flops, counted in TABLE_8
  ),
)
