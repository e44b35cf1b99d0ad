"""X-ViT, Table 2a: the layers that mix frames."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import AVERAGED, AVERAGING, run

PRINTED = {  # layers, top-1, top-5
  '1st half': ('first_half', 61.7, 86.5),
  '2nd half': ('second_half', 61.6, 86.3),
  'Half (odd pos.)': ('odd', 61.2, 86.4),
  'All': ('all', 62.6, 87.8),
}

ROWS = tuple(
  run(
    name,
    'ssv2,8,average',
    overrides={'model.mix_layers': layers},
    trained_as=AVERAGING if name == 'All' else '',
    figures=top(*figures),
    differs_from='' if name == 'All' else 'All',
    differs_in=('model.mix_layers',),
    tiny_set='motion',
    **AVERAGED,
  )
  for name, (layers, *figures) in PRINTED.items()
)

TABLE = PaperTable(
  source='X-ViT, Table 2a',
  title='the layers that mix frames',
  rows=ROWS,
  notes=(
    'The paper does not say how frames are aggregated; the figure of all '
    'layers is that of averaging. Odd layers are the second, the fourth and so '
    'on, numbers 1, 3, ... from 0.'
  ),
)
