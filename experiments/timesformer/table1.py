"""TimeSformer, Table 1: five schemes of attention, on Kinetics-400 and SSv2."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

# Scheme: words of the recipe, millions of parameters, top-1 of K400 and SSv2.
SCHEMES = {
  'Space': ('space', '85.9', 76.9, 36.6),
  'Joint Space-Time': ('joint', '85.9', 77.4, 58.5),
  'Divided Space-Time': ('divided', '121.4', 78.0, 59.5),
  'Sparse Local Global': ('local_global', '121.4', 75.9, 56.3),
  'Axial': ('axial', '156.8', 73.5, 56.2),
}

# SSv2 first: the printed sizes are those of its 174 classes.
ROWS = [
  Row(
    name=f'{name}, SSv2',
    recipe=f'timesformer:base,ssv2,{word}',
    figures=top(ssv2),
    params_m=params_m,
    differs_from='' if word == 'space' else 'Space, SSv2',
    differs_in=('model.attention',),
  )
  for name, (word, params_m, _, ssv2) in SCHEMES.items()
]
ROWS += [
  Row(
    name=f'{name}, K400',
    recipe=f'timesformer:base,k400,{word}',
    figures=top(k400),
    differs_from='' if word == 'space' else 'Space, K400',
    differs_in=('model.attention',),
  )
  for name, (word, _, k400, _) in SCHEMES.items()
]

TABLE = PaperTable(
  source='TimeSformer, Table 1',
  title='five space-time attention schemes',
  rows=tuple(ROWS),
  notes=(
    'Sizes are of models with the 174 classes of SSv2: with the 400 of '
    'Kinetics the divided model has 121.6 million parameters. Local-global and '
    'axial models were never released; their layers are those that give the '
    'printed sizes.'
  ),
)
