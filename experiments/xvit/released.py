"""X-ViT as released: the README of 1adrianb/video-transformers."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

FLOAT32 = {'dtype': 'float32'}
K600 = {'init_expects': 'k600', 'init_files': 'xvit_b16_16_k600.pth'}
START = ('init_expects', 'init_files')

ROWS = (
  Row(
    name='K600, 1 x 3 views',
    recipe='xvit:k600',
    overrides=FLOAT32,
    figures=top(84.51, 96.26),
    unsaid=START,
    # of the 94,406,064, a classifier of 461,400 is never read
    reference_params=93_944_664,
    reference_gmacs=281.1,
  ),
  Row(
    name='K600, 2 x 3 views',
    recipe='xvit:k600',
    overrides=FLOAT32 | {'views.temporal': 2},
    trained_as='K600, 1 x 3 views',
    figures=top(84.71, 96.39),
    unsaid=START,
    differs_from='K600, 1 x 3 views',
    differs_in=('views.temporal',),
  ),
  Row(
    name='SSv2, 2 x 3 views',
    recipe='xvit:ssv2',
    start='released:K600, 1 x 3 views',
    overrides=FLOAT32 | K600,
    figures=top(67.19, 91.0),
    reference_params=93_617_070,
    reference_gmacs=281.1,
  ),
  Row(
    name='K400',
    recipe='xvit:k400',
    overrides=FLOAT32,
    unsaid=START,
    missing='Neither weights nor figures were released, only the settings.',
  ),
)

TABLE = PaperTable(
  source='X-ViT, README',
  title='released weights of X-ViT',
  origin='release',
  rows=ROWS,
  notes='The README prints 32x2 views for SSv2, surely 3 crops of 2 clips.',
)
