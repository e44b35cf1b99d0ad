"""The demo's recipe: a tiny TimeSformer on eight synthetic motions.

  --config=demo:divided (default), demo:joint, demo:space or another attention

A minute or two for each model on two CPU cores. Divided attention learns the
direction of a motion. Space-only attention cannot learn it from this data: it
does not see the order of frames, so at best it finds the axis and guesses one
of two directions.
"""

from vidmodels import config

ATTENTIONS = (
  *('divided', 'joint', 'space', 'local_global', 'axial'),
  *('space_time', 'parallel'),
)
PUBLISHED = ('', 'joint', 'space')


def get_config(arg: str = ''):
  (attention,) = config.choose(arg, attention=ATTENTIONS)
  c = config.skeleton(
    family='timesformer',
    attention=attention,
    layers=3,
    width=64,
    heads=4,
    patch=8,
    drop_path=0.0,
    fresh='scratch',
  )
  c.data.update(dir='demo/records', mean=(0.5,) * 3, std=(0.25,) * 3)
  c.data.threads = 2
  c.clip.update(frames=8, stride=2.0, size=32)
  c.augment.update(short_side=(32, 36), flip=0.0)
  c.views.update(temporal=2, spatial=3, batch=96)
  c.optim.update(
    name='adamw',
    lr=2e-3,
    steps=1000,
    warmup=100.0,
    weight_decay=0.05,
    decays=(('bias|scale|pos|class_token', 0.0),),
    clip_norm=1.0,
  )
  c.batch = 32
  c.dtype = 'float32'
  c.log.every = 100
  c.checkpoint.every = 400
  return c
