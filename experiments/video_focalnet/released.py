"""Video-FocalNets' release: the model zoo of its README."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row, top

ON_K400 = 'released:Video-FocalNet-B, K400'
# Name: words of the recipe, figures, and what the run starts from.
ZOO: dict[str, tuple[Any, ...]] = {
  'Video-FocalNet-T, K400': ('tiny,k400', top(79.8)),
  'Video-FocalNet-S, K400': ('small,k400', top(81.4)),
  'Video-FocalNet-B, K400': ('base,k400', top(83.6)),
  'Video-FocalNet-B, K600': ('base,k600', top(86.7)),
  'Video-FocalNet-B, SSv2': ('base,ssv2', top(71.1), ON_K400),
  'Video-FocalNet-B, Diving48': ('base,diving48', top(90.8), ON_K400),
  'Video-FocalNet-B, ActivityNet': (
    *('base,activitynet_untrimmed', {'hit1': 89.8}, ON_K400),
  ),
}

TABLE = PaperTable(
  source='Video-FocalNets, README of their release',
  title='released models',
  origin='release',
  rows=tuple(
    Row(
      name=name,
      recipe=f'video_focalnet:{words}',
      figures=figures,
      start=start[0] if start else '',
      unsaid=('init_expects', 'start'),
    )
    for name, (words, figures, *start) in ZOO.items()
  ),
  notes=(
    "The README repeats the paper's figures, and says that tests on different "
    'machines vary by .3. Its configurations name the image model as the start '
    'of every run; the paper starts from Kinetics-400 on SSv2, Diving48 and '
    'ActivityNet, as these rows do. The release computes in float16 (apex O1).'
  ),
)
