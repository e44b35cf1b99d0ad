"""Starting from an image model, at a laptop's size.

No table of a paper prints this: section 4.2 of TimeSformer says that without
pretraining its model needs a longer schedule. An image model is trained on
still textures, and a video model starts from it.
"""

from vidmodels.analysis.paper_rows import PaperTable, Row

VIDEO = 'timesformer:base,k400,paper'
BACKBONE = '^(?!head/)'  # all parameters but the head's

TABLE = PaperTable(
  source='TimeSformer, section 4.2',
  title='random weights, and those of an image model',
  rows=(
    Row(name='the image model', recipe='vit', tiny_set='textures'),
    Row(name='random', recipe=VIDEO, start='scratch'),
    Row(name='image model', recipe=VIDEO, start='start:the image model'),
    Row(
      name='frozen',
      recipe=VIDEO,
      start='start:the image model',
      overrides={'optim.train': 'head'},
      differs_from='image model',
      differs_in=('optim.train',),
    ),
    Row(
      name='a tenth',
      recipe=VIDEO,
      start='start:the image model',
      overrides={'optim.rates': ((BACKBONE, 0.1),)},
      differs_from='image model',
      differs_in=('optim.rates',),
    ),
  ),
  notes='"a tenth" is the rate of all parameters but the head.',
)
