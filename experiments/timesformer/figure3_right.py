"""TimeSformer, Figure 3, right: cost by the number of frames."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import scheme_costs

FRAMES = (8, 32, 64, 96)

TABLE = PaperTable(
  source='TimeSformer, Figure 3 (right)',
  title='cost of joint and divided attention by the number of frames',
  rows=scheme_costs('clip.frames', FRAMES, 'frames'),
  x_label='frames of a clip',
  y_metric='gmacs',
  notes=(
    'The text prints no value of this figure. It says that joint attention '
    'does not fit into the memory of a GPU from 32 frames on; the numbers of '
    'frames are those of Table 8, at 224 pixels.'
  ),
)
