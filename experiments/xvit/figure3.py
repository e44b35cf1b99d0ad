"""X-ViT, Figure 3: accuracy by the number of clips of a test."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

MODELS = {8: 'table3:TA, K400', 16: 'table6:X-ViT (16x)'}
CLIPS = (1, 2, 3, 5, 10)

ROWS = tuple(
  run(
    f'X-ViT ({frames}x), {clips} x 3 views',
    f'k400,{frames}',
    overrides={'views.temporal': clips},
    trained_as=trained,
    differs_from='' if clips == 1 else f'X-ViT ({frames}x), 1 x 3 views',
    differs_in=('views.temporal',),
    x=clips,
    series=f'X-ViT ({frames}x)',
  )
  for frames, trained in MODELS.items()
  for clips in CLIPS
)

TABLE = PaperTable(
  source='X-ViT, Figure 3',
  title='accuracy on Kinetics-400 by the number of temporal clips of a test',
  rows=ROWS,
  x_label='temporal clips, of 3 crops each',
  notes=(
    'The text prints no value of this figure, nor which model it tests; it '
    'says that more than 2 clips add nothing. The numbers up to the usual 10 '
    'are chosen here.'
  ),
)
