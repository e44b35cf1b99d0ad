"""TimeSformer, Figure 3, left: cost by the size of the crop."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

SIZES = (224, 336, 448, 560)
SCHEMES = {'Divided Space-Time': 'divided', 'Joint Space-Time': 'joint'}

ROWS = tuple(
  run(
    f'{name}, {size} pixels',
    f'base,k400,{word}',
    overrides={'clip.size': size},
    differs_from=''
    if word == 'divided'
    else f'Divided Space-Time, {size} pixels',
    differs_in=('model.attention',),
    x=size,
    series=name,
  )
  for name, word in SCHEMES.items()
  for size in SIZES
)

TABLE = PaperTable(
  source='TimeSformer, Figure 3 (left)',
  title='cost of joint and divided attention by the size of the crop',
  rows=ROWS,
  x_label='side of the crop, pixels',
  y_metric='gmacs',
  notes=(
    'The text prints no value of this figure. It says that joint attention '
    'does not fit into the memory of a GPU from 448 pixels on; the four sizes '
    'are chosen here, with 8 frames.'
  ),
)
