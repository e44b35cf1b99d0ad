"""X-ViT, Table 2d: the share of channels that come from other frames."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import BEST, WITH_TA, run

# The share 0 mixes nothing: the networks are those of Tables 1 and 2c.
NOTHING = {'model.mix': 'none'}
AVERAGING = {'model.mix_window': 0, 'model.ta_layers': 0}
# Share: fields, the same run in another table, top-1.
PRINTED: dict[str, tuple[dict[str, Any], str, float]] = {
  '0%*': (AVERAGING, 'table1:t_w = 0', 45.2),
  '0%': (NOTHING, 'table2c:nothing', 56.6),
  '25%': ({'model.mix_share': 0.25}, '', 64.3),
  '50%': ({}, BEST, 64.4),
  '100%': ({'model.mix_share': 1.0}, '', 62.5),
}

ROWS = tuple(
  run(
    name,
    'ssv2,8',
    overrides=fields,
    trained_as=same,
    figures=top(top1),
    differs_from='' if name == '50%' else '50%',
    differs_in=tuple(fields),
    tiny_set='motion',
    **({} if fields == AVERAGING else WITH_TA),
  )
  for name, (fields, same, top1) in PRINTED.items()
)

TABLE = PaperTable(
  source='X-ViT, Table 2d',
  title='the share of channels that come from other frames',
  rows=ROWS,
  notes='* averages the frames; the others have temporal attention.',
)
