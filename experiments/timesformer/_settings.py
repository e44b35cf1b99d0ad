"""What the rows of TimeSformer's tables share: training, test and weights.

Appendix A: 15 epochs in batches of 16, one clip of the middle of a video, the
mean of the softmax scores of three crops. The released code has batches of 64,
the beginning of a video and the mean of logits; both have the same rates.
"""

from collections.abc import Mapping
from typing import Any

from vidmodels.analysis.paper_rows import Row

IN_1K, IN_21K, SCRATCH = 'imagenet-1k', 'imagenet-21k', 'scratch'
# Files of ViT-B/16 with these weights.
FILES = {
  IN_1K: 'jx_vit_base_p16_224-80ecf9dd.pth',
  IN_21K: 'B_16-i21k-*.npz of the ViT paper or AugReg',
  SCRATCH: '',
}
PRETRAINING = ('start', 'init_expects', 'init_files')  # fields that follow
# 'uniform' draws training clips as the release does; its one view is the middle
TEST = {'batch': 16, 'views.average': 'probs'}
MIDDLE = {'clip.sampling': 'uniform'}
# The paper does not speak of these.
UNSAID = ('dtype', 'augment.flip', 'optim.nesterov', 'model.drop_path')
# Clips of the paper's three models, and what follows from the size.
HIGH = {
  'clip.frames': 16,
  'clip.stride': 16.0,
  'clip.size': 448,
  'augment.short_side': (448, 512),
  'views.centre_scale': 1.0,
}
LONG = {'clip.frames': 96, 'clip.stride': 4.0}
SEGMENTS = {'base': 8, 'high': 16, 'long': 96}  # frames of a clip of SSv2

# I3D 8 x 8 as Appendix A trains it: "118 epochs with a base learning rate of
# 0.01, which is divided by 10 at epochs 44 and 88".
I3D: dict[str, Any] = {
  'optim.lr': 0.01,
  'optim.epochs': 118.0,
  'optim.schedule': 'step',
  'optim.milestones': (44.0, 88.0),
  'optim.factors': (0.1, 0.01),
  'optim.warmup': 0.0,
  'optim.warmup_lr': 0.0,
  'init_files': "torchvision's resnet50",
}


def run(
  name: str,
  words: str,
  *,
  start: str = IN_21K,
  overrides: Mapping[str, Any] | None = None,
  unsaid: tuple[str, ...] = (),
  **fields: Any,
) -> Row:
  """A run of the paper; `words` as 'base,k400,joint'.

  `start` may be a row of another table, as in `Row`; then the recipe says what
  it expects.
  """
  clip, dataset = words.split(',')[:2]
  changes: dict[str, Any] = {**TEST}
  if dataset == 'ssv2':
    changes['clip.frames'] = SEGMENTS[clip]
  else:
    changes |= MIDDLE
  if start in FILES:
    changes['init_files'] = FILES[start]
  return Row(
    name=name,
    recipe=f'timesformer:{words}',
    start=start,
    overrides={**changes, **(overrides or {})},
    unsaid=(*UNSAID, *unsaid),
    **fields,
  )
