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
PARAMS_T, PARAMS_S, PARAMS_B = 21_767_360, 48_908_064, 86_837_632
FINE, COARSE = (8, 7, 7), (4, 4, 4)
LAST_POOLED: dict[str, Any] = dict(fine=(FINE,) * 4)
# Kernels keep their size where time is shorter: targets in time are its half
# and its quarter.
HALF, QUARTER = (4, 7, 7), (2, 4, 4)

LONG = dict(
  patch_frames=4,
  fine=(HALF, HALF, HALF, FINE),
  coarse=(QUARTER, QUARTER, (), ()),
)
EARLY = dict(
  rates=(2, 1, 1),
  fine=(FINE, HALF, HALF, FINE),
  coarse=(COARSE, QUARTER, (), ()),
)
MIDDLE = dict(rates=(1, 2, 1), fine=(FINE, FINE, HALF, FINE))
LATE = dict(rates=(1, 1, 2), **LAST_POOLED)
LG1 = dict(fine=((), (), FINE, (16, 7, 7)))
LG2 = dict(coarse=((),) * 4, **LAST_POOLED)
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
  params: int | None = None,
  *,
  frames: int = 32,
  why: str = '',
) -> PaperRow:
  """One row; `counted` and `params` are what the authors' code has."""
  part = CountedModel('dualformer', model, (frames, 224, 224))
  printed, code = (params_m, gmacs), (params, counted)
  source, head = f'DualFormer {table}', ('^head/', '^head$')
  return PaperRow(config, source, (part,), *printed, *code, *head, why)


def _patterns(stages: str, *figures: Any, **more: Any) -> PaperRow:
  """A row of Table 4, by the patterns of its stages."""
  model = {'patterns': tuple(stages.split(',')), **more}
  return _row(f'T {stages}', 'Table 4 / 4', model, *figures)


def _window(
  name: str, *window: int, flops: int, counted: float, frames: int = 32
) -> PaperRow:
  """A row of Table 5: one window for all stages."""
  table, model = f'Table 5: {flops} / 4', {'windows': (window,) * 4}
  name = f'T window {name}'
  return _row(name, table, model, '', flops // 4, counted, frames=frames)


def _over_time(
  name: str, model: dict[str, Any], params_m: str, flops: int, counted: float
) -> PaperRow:
  """A row of Table 8: frames merged in a patch, or at the entry of a stage."""
  name, table = f'T temporal pool {name}', f'Table 8: {flops} / 4'
  return _row(name, table, model, params_m, flops // 4, counted)


AVERAGE, DENSE = ({'pooling': p, **LAST_POOLED} for p in ('average', 'dense'))
MAIN_B = ('Table 2: 1072 / 4', BASE, '86.8', 268, 267.96, PARAMS_B)
# fmt: off
ROWS = (
  # The main results: released models, FLOPs of four views.
  _row('T 32x2', 'Table 2: 240 / 4', {}, '21.8', 60, 60.09, PARAMS_T),
  _row('S 32x2', 'Tables 2, 3: 636 / 4', SMALL, '48.9', 159, 158.69, PARAMS_S),
  _row('B 32x2 IN-1K', *MAIN_B),
  _row('B 32x2 IN-21K', *MAIN_B),
  # Built for 32 frames; one built for 16 has finer kernels and needs 29.87.
  _row('T 16x4', 'Tables 3, 5: 112 / 4', {}, '', 28, 27.84, PARAMS_T,
       frames=16),
  _patterns('LL,LL,LL,LL', '21.7', 61, 61.43),
  _patterns('GG,GG,GG,GG', '21.8', 57, 56.67, **LAST_POOLED),
  _patterns('LL,LL,LG,LG', '21.7', 59, 59.23, **LAST_POOLED),
  _patterns('LG,LG,LL,LL', '21.8', 61, 61.25),
  _row('T LG1 everywhere (4,4,4)', 'Table 4: 224 / 4', LG1, '21.8', 56, 56.29),
  _row('T LG2 everywhere (8,7,7)', 'Table 4: 232 / 4', LG2, '21.8', 58, 58.43),
  _window('4x7x7, 16x4', 4, 7, 7, flops=104, counted=25.96, frames=16),
  _window('4x7x7, 32x2', 4, 7, 7, flops=224, counted=56.31),
  _window('16x7x7', 16, 7, 7, flops=272, counted=67.64),
  _window('8x14x14', 8, 14, 14, flops=324, counted=80.86),
  _row('T downsample AvgPool', 'Table 6', AVERAGE, '21.8', 59, 59.04,
       why=MEANS),
  _row('T downsample Conv', 'Table 6', DENSE, '27.6', 61, 61.31),
  _row('T no position', 'Table 7', {'position': 'none'}),
  _row('T absolute position', 'Table 7', {'position': 'absolute'}),
  _row('T relative position', 'Table 7', {'position': 'relative'}),
  _over_time('1,1,1 patch (4,4,4)', LONG, '21.8', 112, 28.00),
  _over_time('2,1,1', EARLY, '21.8', 136, 34.01),
  _over_time('1,2,1', MIDDLE, '21.9', 152, 38.25),
  _over_time('1,1,2', LATE, '22.3', 216, 53.88),
)
# fmt: on
