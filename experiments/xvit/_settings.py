"""What the rows of X-ViT's tables share: weights, counts and what is unsaid.

The paper tests one clip and three crops everywhere, and starts from a ViT of
ImageNet-21K. It describes no training but that: optimiser, schedule, clips and
crops are those of the released code.
"""

from collections.abc import Mapping
from typing import Any

from vidmodels.analysis.paper_rows import Row, top

IN_21K = 'imagenet-21k'
# Fields that the paper does not speak of.
UNSAID = (
  *('batch', 'dtype', 'loss.label_smoothing', 'mix.mixup'),
  *('optim.name', 'optim.lr', 'optim.epochs', 'optim.weight_decay'),
  *('optim.warmup', 'optim.warmup_lr', 'augment.flip', 'augment.erase'),
)
# Nor, of the models of Kinetics, of these; of SSv2's it says the share.
UNSAID_KINETICS = ('clip.stride', 'model.mix_share', 'model.segment')
# Of the authors' code with 174 classes: parameters that are read, and
# multiply-adds of 8 frames. It has a linear classifier of 133,806 parameters
# more, which nothing reads beside temporal attention.
WITH_TA: dict[str, Any] = {
  'reference_params': 93_617_070,
  'reference_gmacs': 140.6,
}
AVERAGED: dict[str, Any] = {
  'reference_params': 85_938_606,
  'reference_gmacs': 140.5,
}
# Runs that several tables print.
AVERAGING = 'table1:t_w = 1'
BEST = 'table2b:1 layer'


def run(
  name: str,
  words: str,
  *,
  start: str = IN_21K,
  overrides: Mapping[str, Any] | None = None,
  **fields: Any,
) -> Row:
  """A run of the paper; `words` as 'ssv2,8,average'."""
  kinetics = words.startswith(('k400', 'k600'))
  return Row(
    name=name,
    recipe=f'xvit:{words},paper',
    start=start,
    overrides=overrides or {},
    unsaid=(*UNSAID, *(UNSAID_KINETICS if kinetics else ())),
    **fields,
  )


def views_of(views: str, flops: int | None) -> dict[str, Any]:
  """Multiply-adds of a view of another system: printed for '10x3' views."""
  if flops is None:
    return {}
  if not views:
    how = f'{flops:,} of all views, as printed; their number is not'
    return {'gmacs': float(flops), 'gmacs_from': how}
  temporal, spatial = map(int, views.split('x'))
  number = temporal * spatial
  return {
    'gmacs': round(flops / number, 1),
    'gmacs_from': f'{flops:,} / {number}',
  }


def other_systems(
  printed: Mapping[str, tuple[float, float | None, str, int | None]],
) -> list[Row]:
  """Rows of other systems: top-1, top-5, views, FLOPs of all views."""
  return [
    Row(name=name, figures=top(top1, top5), **views_of(views, flops))
    for name, (top1, top5, views, flops) in printed.items()
  ]
