"""TimeSformer, Figure 3, right: cost by the number of frames."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

FRAMES = (8, 32, 64, 96)
SCHEMES = {'Divided Space-Time': 'divided', 'Joint Space-Time': 'joint'}

ROWS = tuple(
  run(
    f'{name}, {frames} frames',
    f'base,k400,{word}',
    overrides={'clip.frames': frames},
    differs_from=''
    if word == 'divided'
    else f'Divided Space-Time, {frames} frames',
    differs_in=('model.attention',),
    x=frames,
    series=name,
  )
  for name, word in SCHEMES.items()
  for frames in FRAMES
)

TABLE = PaperTable(
  source='TimeSformer, Figure 3 (right)',
  title='cost of joint and divided attention by the number of frames',
  rows=ROWS,
  x_label='frames of a clip',
  y_metric='gmacs',
  notes=(
    'The text prints no value of this figure. It says that joint attention '
    'does not fit into the memory of a GPU from 32 frames on; the numbers of '
    'frames are those of Table 8, at 224 pixels.'
  ),
)
