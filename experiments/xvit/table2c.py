"""X-ViT, Table 2c: what mixes frames."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import BEST, WITH_TA, run

PRINTED = {  # top-1, top-5
  'none': (56.6, 83.5),
  'x': (63.1, 88.8),
  'key': (63.1, 88.8),
  'value': (62.5, 88.6),
  'key_value': (64.4, 89.3),
}
NAMES = {'none': 'nothing', 'key_value': 'key and value'}

ROWS = tuple(
  run(
    NAMES.get(mix, mix),
    'ssv2,8',
    overrides={'model.mix': mix},
    trained_as=BEST if mix == 'key_value' else '',
    figures=top(*figures),
    differs_from='' if mix == 'key_value' else 'key and value',
    differs_in=('model.mix',),
    tiny_set='motion',
    **WITH_TA,
  )
  for mix, figures in PRINTED.items()
)

TABLE = PaperTable(
  source='X-ViT, Table 2c',
  title='what takes channels from other frames',
  rows=ROWS,
  notes='x is the token before its projection to query, key and value.',
)
