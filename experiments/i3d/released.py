"""I3D as released: the READMEs of mmaction2 and of SlowFast's model zoo."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

FLOAT32 = {'dtype': 'float32'}

TABLE = PaperTable(
  source='I3D, READMEs of mmaction2 and SlowFast',
  title='released weights of I3D',
  origin='release',
  rows=(
    Row(
      name='mmaction2, R50, 32x2',
      recipe='i3d:light,k400',
      overrides=FLOAT32,
      figures=top(73.47, 91.27),
      params_m='28.0',
      gmacs=43.5,
      reference_params=28_043_472,
      reference_gmacs=43.27,
    ),
    Row(
      name='mmaction2, R50 heavy, 32x2',
      recipe='i3d:heavy,k400',
      overrides=FLOAT32,
      figures=top(76.21, 92.48),
      params_m='33.0',
      gmacs=166.3,
      reference_params=33_024_208,
      reference_gmacs=165.59,
      differs_from='mmaction2, R50, 32x2',
      differs_in=('model.reach', 'model.stem_stride', 'model.pool_stride'),
    ),
    Row(
      name='SlowFast, R50, 8x8',
      recipe='i3d:slowfast,k400',
      overrides=FLOAT32,
      figures=top(73.5, 90.8),
      reference_params=28_043_472,
      reference_gmacs=37.10,
    ),
    Row(
      name='SlowFast, R101, 8x8',
      recipe='i3d:slowfast,r101,k400',
      overrides=FLOAT32,
      missing='Of the R101 there is a configuration, and no weights or figure.',
      differs_from='SlowFast, R50, 8x8',
      differs_in=('model.reach',),
    ),
  ),
  notes=(
    'All train on crops of 224 pixels and test on 256, on which their costs '
    "are. SlowFast's zoo has the weights as a Caffe2 file."
  ),
)
