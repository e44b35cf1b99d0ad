"""TimeSformer, Table 1: five schemes of attention, on Kinetics-400 and SSv2."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import run

# Scheme: words of the recipe, top-1 of K400 and SSv2, millions of parameters,
# and the parameters and multiply-adds of the authors' code, of which the last
# two schemes are not part. 35,453,952 parameters more are what an attention
# step with its norm and a second projection adds to twelve blocks.
SCHEMES = {
  'Space': ('space', 76.9, 36.6, '85.9', 85_932_462, 140.5),
  'Joint Space-Time': ('joint', 77.4, 58.5, '85.9', 85_938_606, 179.6),
  'Divided Space-Time': ('divided', 78.0, 59.5, '121.4', 121_392_558, 195.8),
  'Sparse Local Global': ('local_global', 75.9, 56.3, '121.4', None, None),
  'Axial': ('axial', 73.5, 56.2, '156.8', None, None),
}

# SSv2 first: the printed sizes are those of its 174 classes.
ROWS = [
  run(
    f'{name}, SSv2',
    f'base,ssv2,{word}',
    figures=top(ssv2),
    params_m=params_m,
    reference_params=params,
    reference_gmacs=gmacs,
    differs_from='' if word == 'space' else 'Space, SSv2',
    differs_in=('model.attention',),
  )
  for name, (word, _, ssv2, params_m, params, gmacs) in SCHEMES.items()
]
ROWS += [
  run(
    f'{name}, K400',
    f'base,k400,{word}',
    figures=top(k400),
    differs_from='' if word == 'space' else 'Space, K400',
    differs_in=('model.attention',),
  )
  for name, (word, k400, *_) in SCHEMES.items()
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
