"""TimeSformer, Figure 3, left: cost by the size of the crop."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import scheme_costs

SIZES = (224, 336, 448, 560)

TABLE = PaperTable(
  source='TimeSformer, Figure 3 (left)',
  title='cost of joint and divided attention by the size of the crop',
  rows=scheme_costs('clip.size', SIZES, 'pixels'),
  x_label='side of the crop, pixels',
  y_metric='gmacs',
  notes=(
    'The text prints no value of this figure. It says that joint attention '
    'does not fit into the memory of a GPU from 448 pixels on; the four sizes '
    'are chosen here, with 8 frames.'
  ),
)
