"""TimeSformer, section 4.2: Kinetics-400 from random weights."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import PRETRAINING, SCRATCH, run

LONGER = (
  'The paper had "a longer training schedule and more data augmentations" and '
  'does not say which: the row has those of the other runs.'
)
# Fields of that training.
TRAINING = (
  'optim.epochs',
  'optim.milestones',
  'augment.auto',
  'augment.rand_n',
)

ROW = run(
  'from random weights',
  'base,k400',
  start=SCRATCH,
  overrides={'model.fresh': 'scratch'},
  figures=top(64.8),
  unsaid=TRAINING,
  differs_from='table1:Divided Space-Time, K400',
  differs_in=(*PRETRAINING, 'model.fresh'),
  missing=LONGER,
)

TABLE = PaperTable(
  source='TimeSformer, section 4.2',
  title='Kinetics-400 without pretraining',
  rows=(ROW,),
  notes=(
    'What the section says of SlowFast and I3D is in Table 2, of the number of '
    'training videos in Figure 4.'
  ),
)
