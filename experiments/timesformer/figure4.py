"""TimeSformer, Figure 4: accuracy by the number of training videos."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import IN_1K, run

SHARES = (25, 50, 75, 100)
SAME = {
  'TimeSformer, K400': 'table2:TimeSformer, ImageNet-1K',
  'TimeSformer, SSv2': 'table3:TimeSformer, ImageNet-1K, SSv2',
  'I3D R50, K400': 'table2:I3D 8x8 R50, 1,440 h',
}


def _fields(curve: str, share: int) -> dict[str, Any]:
  """What all models say of a share, in percent."""
  return {
    'name': f'{curve}, {share}%',
    'start': IN_1K,
    'trained_as': SAME[curve] if share == 100 else '',
    'differs_from': '' if share == 100 else f'{curve}, 100%',
    'differs_in': ('data.share',),
    'x': share,
    'series': curve,
  }


ROWS = [
  run(
    words=f'base,{dataset.lower()}',
    overrides={'data.share': share / 100},
    **_fields(f'TimeSformer, {dataset}', share),
  )
  for dataset in ('K400', 'SSv2')
  for share in SHARES
]
ROWS += [
  Row(
    recipe='i3d:slowfast,paper',
    overrides={'data.share': share / 100},
    **_fields('I3D R50, K400', share),
  )
  for share in SHARES
]

TABLE = PaperTable(
  source='TimeSformer, Figure 4',
  title='accuracy by the share of training videos',
  rows=tuple(ROWS),
  x_label='share of the training videos, %',
  notes=(
    'The text prints no value of this figure; those of all videos are in '
    'Tables 2 and 3. A share is drawn for every class, each with the videos of '
    'the smaller ones; how the paper drew its is not said. An epoch is '
    'shorter by the share. The curves of SlowFast, and of I3D on SSv2, are not '
    'ours.'
  ),
)
