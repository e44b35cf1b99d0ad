"""X-ViT, Table 8: the state of the art on EPIC-Kitchens-100."""

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import run

METRICS = ('action_top1', 'verb_top1', 'noun_top1')
OURS = {8: (41.5, 66.7, 53.3), 16: (44.3, 68.7, 56.4)}
OTHERS = {
  'TSN': (33.2, 60.2, 46.0),
  'TRN': (35.3, 65.9, 45.4),
  'TBN': (36.7, 66.0, 47.2),
  'TSM': (38.3, 67.9, 49.0),
  'SlowFast': (38.5, 65.6, 50.0),
  'ViViT-L/16x2': (44.0, 66.4, 56.8),
}

ROWS = [
  Row(name=name, figures=dict(zip(METRICS, figures, strict=True)))
  for name, figures in OTHERS.items()
]
ROWS += [
  run(
    f'X-ViT ({frames}x)',
    f'epic100,{frames}',
    figures=dict(zip(METRICS, figures, strict=True)),
    differs_from='' if frames == 8 else 'X-ViT (8x)',
    differs_in=('clip.frames',),
  )
  for frames, figures in OURS.items()
]

TABLE = PaperTable(
  source='X-ViT, Table 8',
  title='state of the art on EPIC-Kitchens-100',
  rows=tuple(ROWS),
  notes=(
    'The paper does not say how the losses of verbs and nouns are combined: '
    'they are added.'
  ),
)
