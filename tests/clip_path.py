"""Which functions a clip of the demo recipe enters, from record to loss.

  python tests/clip_path.py          prints the list
  python tests/clip_path.py --write  writes it into docs/architecture.md

Set-up is not on the path: opening the records, the recipe, the model object,
the streams and the step are built before the tracer looks. It then watches one
batch being made by the reader threads, moved to the device and traced by JAX
through the training step. JAX runs our Python once, while it traces; what it
compiles from that enters no function of ours. The path ends as the loss of each
clip is known. Comprehensions and lambdas count as part of their function.
"""

import contextlib
import gc
import pathlib
import sys
import tempfile
import threading
from collections.abc import Iterator

import fake
import jax

import vidmodels
from vidmodels.cli import recipe
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train.build import build
from vidmodels.train.feed import Feed

PACKAGE = pathlib.Path(vidmodels.__file__).parent
PAGE = PACKAGE.parent / 'docs' / 'architecture.md'
BEGIN, END = '<!-- clip path: begin -->\n', '<!-- clip path: end -->\n'
LOSS = ('train/losses.py', 'loss_per_clip')


class Tracer:
  """Collects the functions of the package that any thread enters.

  Attributes:
    path: {file: functions}, both in the order of first entry.
  """

  def __init__(self):
    self.path: dict[str, list[str]] = {}
    self.on = False

  def __call__(self, frame, event, _):
    code = frame.f_code
    if not self.on or not code.co_filename.startswith(str(PACKAGE)):
      return
    file = pathlib.Path(code.co_filename).relative_to(PACKAGE).as_posix()
    name = code.co_qualname.replace('<locals>.', '')
    if event == 'return' and (file, name) == LOSS:
      self.on = False
    if event == 'call' and not code.co_name.startswith('<'):
      functions = self.path.setdefault(file, [])
      if name not in functions:
        functions.append(name)

  @contextlib.contextmanager
  def watch(self) -> Iterator[None]:
    """Watches this thread and those that it starts."""
    # A generator that another test left half-read is entered when it is
    # collected.
    gc.collect()
    gc.disable()
    before = sys.getprofile()
    threading.setprofile(self)
    sys.setprofile(self)
    try:
      yield
    finally:
      sys.setprofile(before)
      threading.setprofile(None)
      gc.enable()


def trace(folder: pathlib.Path) -> dict[str, list[str]]:
  """The path of one batch of the demo recipe: {file: functions}."""
  fake.write(folder, videos=4, frames=20, height=32, width=40)
  records = RecordSet.open(folder, 'train')
  flags = [f'--config.data.dir={folder}', '--config.batch=2']
  config = recipe.load('demo', flags)
  run = build(config, classes=3, examples=4, devices=jax.devices()[:1])
  train_step, tracer = run.train_step(), Tracer()
  batch_stream.permutation.cache_clear()  # or a test before this made it
  with tracer.watch(), jax.set_mesh(run.mesh):
    batches = batch_stream.train_batches(
      records,
      clip=config.clip,
      augment=config.augment,
      data=config.data,
      batch=config.batch,
      seed=config.seed,
      rows=range(config.batch),
      start_step=0,
      steps=1,
    )
    feed = Feed(batches, rows=config.batch, mesh=run.mesh)
    with contextlib.closing(feed):
      tracer.on = True
      batch = next(feed)
      jax.eval_shape(train_step, run.abstract, batch)
  assert not tracer.on, 'the step computed no loss'
  return tracer.path


def documented() -> dict[str, list[str]]:
  """The path that the page tells: {file: functions}."""
  block = PAGE.read_text().split(BEGIN)[1].split(END)[0]
  lines = [line for line in block.splitlines() if ': ' in line]
  pairs = (line.split(': ', 1) for line in lines)
  return {file: functions.split(', ') for file, functions in pairs}


def text(path: dict[str, list[str]]) -> str:
  """A path as the page has it, a file a line."""
  lines = [f'{file}: {", ".join(names)}' for file, names in path.items()]
  return '\n'.join(['```text', *lines, '```', ''])


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    path = trace(pathlib.Path(folder))
  if '--write' in sys.argv:
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + text(path) + END + after)
  count = sum(map(len, path.values()))
  print(f'{text(path)}{len(path)} files, {count} functions')


if __name__ == '__main__':
  main()
