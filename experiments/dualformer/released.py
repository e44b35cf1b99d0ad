"""DualFormer's release (sail-sg/dualformer): its README and configurations."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row, top

# Name: words of the recipe, top-1 of the README, and what the run starts from.
ZOO: dict[str, tuple[Any, ...]] = {
  'Tiny, K400': ('tiny,k400', 79.5),
  'Small, K400': ('small,k400', 80.6),
  'Base, K400': ('base,k400', 81.1),
  'Base, K600': ('base,k600', 85.2),
  'Small, Diving-48': ('small,diving48', 81.8, 'released:Small, K400'),
  'Small, HMDB-51': ('small,hmdb51', 76.4, 'released:Small, K400'),
  'Small, UCF-101': ('small,ucf101', 97.5, 'released:Small, K400'),
  # Configurations without a figure.
  'Tiny, UCF-101': ('tiny,ucf101', None, 'released:Tiny, K400'),
}
NOT_PUBLISHED = 'The image weights that this run started from are not published'
LABELLED = {'model.token_head': True}

TABLE = PaperTable(
  source='DualFormer, README of its release',
  title='released models and configurations',
  origin='release',
  rows=(
    *(
      Row(
        name=name,
        recipe=f'dualformer:{words}',
        figures={} if top1 is None else top(top1),
        start=start[0] if start else '',
        missing='' if start else f'{NOT_PUBLISHED}.',
        # The release does not say so in a file: the path of a weight file is an
        # argument of its trainer.
        unsaid=('init_expects', 'start'),
      )
      for name, (words, top1, *start) in ZOO.items()
    ),
    *(
      Row(
        name=f'{name}, K400, token labels',
        recipe=f'dualformer:{name.lower()},k400',
        overrides={**LABELLED, 'batch': batch},
        teacher='Base, K400',
        differs_from=f'{name}, K400',
        differs_in=differs_in,
        missing=f'{NOT_PUBLISHED}.',
        unsaid=('init_expects', 'start'),
      )
      for name, batch, differs_in in (
        ('Tiny', 128, ('model.token_head', 'batch')),
        ('Small', 64, ('model.token_head',)),
      )
    ),
  ),
  notes=(
    "The README repeats the paper's figures, sizes and FLOPs, of 12 views for "
    'the small sets; it says 22K for the 21k classes of ImageNet. Its row of '
    'UCF-101 is the small model and links to the configuration of the tiny '
    'one. Whether the files of tiny and small were trained with token labels '
    'is not said. The configuration of tiny on UCF-101 builds pooling kernels '
    'for 16 frames, which the Kinetics file cannot fill; here they stay those '
    'of 32 frames. The release computes in float16 (apex O1).'
  ),
)
