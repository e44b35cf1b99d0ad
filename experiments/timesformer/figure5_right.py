"""TimeSformer, Figure 5, right: accuracy by the number of frames."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

# Frames: between them, and the run that another table prints too.
CLIPS = {
  8: (32.0, 'table1:Divided Space-Time, K400'),
  32: (8.0, ''),
  64: (4.0, ''),
  96: (4.0, 'table3:TimeSformer-L, ImageNet-21K, K400'),
}

ROWS = tuple(
  run(
    f'{frames} frames',
    'base,k400',
    overrides={
      'clip.frames': frames,
      'clip.stride': stride,
      'views.spatial': 1,
    },
    trained_as=same,
    differs_from='' if frames == 8 else '8 frames',
    differs_in=('clip.frames', 'clip.stride'),
    x=frames,
    tiny_set='motion',
  )
  for frames, (stride, same) in CLIPS.items()
)

TABLE = PaperTable(
  source='TimeSformer, Figure 5 (right)',
  title='clip-level accuracy on Kinetics-400 by the number of frames',
  rows=ROWS,
  x_label='frames of a clip',
  notes=(
    'The text prints no value of this figure, and names 96 frames as the most. '
    'The other numbers are those of Table 8, their rates those with which a '
    'clip spans 256 frames as that of 8 does; 96 frames are those of '
    'TimeSformer-L. Clip-level is read as one view: a crop of the middle of '
    'one clip.'
  ),
)
