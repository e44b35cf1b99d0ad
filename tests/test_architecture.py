"""The shape of the code: imports go one way, names tell their axes."""

import ast
import collections
import pathlib
import re
import subprocess
import sys

import pytest

from vidmodels.typing import AXES

REPO = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = REPO / 'vidmodels'
FILES = sorted(PACKAGE.rglob('*.py'))
# A module may import from its own layer and from those before it.
LAYERS = (
  {
    *('typing', 'checked_json', 'usual_names', 'fields', 'files', 'config'),
    *('object_store', 'store_path', 'local_cache'),
    '__init__',
  },
  {'nn', 'data'},
  {'models'},
  {'weights', 'analysis'},
  {'train'},
  {'evaluate'},
  {'cli'},
  {'__main__'},
)
SIBLINGS = ({'nn', 'data'}, {'weights', 'analysis'})  # never of each other


def layer(part: str) -> int:
  return next(i for i, names in enumerate(LAYERS) if part in names)


def part_of(module: str) -> str:
  """'vidmodels.data.sampling.rules' -> 'data'."""
  return [*module.split('.'), '__init__'][1]


def imported(path: pathlib.Path) -> set[str]:
  """Every vidmodels module that a file imports, lazily or not."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      names.add(node.module)
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return {name for name in names if name.startswith('vidmodels.')}


def module_of(path: pathlib.Path) -> str:
  """'vidmodels.data.sampling.rules' or, for a folder, 'vidmodels.data'."""
  parts = path.relative_to(REPO).with_suffix('').parts
  return '.'.join(parts).removesuffix('.__init__')


@pytest.mark.parametrize('path', FILES, ids=str)
def test_imports_go_one_way(path):
  own = path.relative_to(PACKAGE).with_suffix('').parts[0]
  for module in imported(path):
    if (
      not (PACKAGE / part_of(module)).exists()
      and not (PACKAGE / f'{part_of(module)}.py').exists()
    ):
      continue  # a name of vidmodels/__init__.py
    theirs = part_of(module)
    assert layer(theirs) <= layer(own), f'{path} imports {module}'
    for pair in SIBLINGS:
      assert not (own in pair and theirs in pair and own != theirs), module


def test_every_part_of_the_package_has_a_layer():
  parts = {p.relative_to(PACKAGE).with_suffix('').parts[0] for p in FILES}
  assert parts <= set().union(*LAYERS)


# The rooms of data/: a room may import from those before it, never from its
# own line and never back.
ROOMS = (
  {'records', 'video'},
  {'augment', 'listing'},
  {'sampling', 'datasets'},
  {'prepare', 'stream'},
  {'synthetic'},
)


def test_the_rooms_of_data_import_one_way():
  floor = {room: i for i, rooms in enumerate(ROOMS) for room in rooms}
  rooms = {path.parent.name for path in (PACKAGE / 'data').glob('*/*.py')}
  assert rooms == set(floor)
  backwards = []
  for path in (PACKAGE / 'data').rglob('*.py'):
    own = path.relative_to(PACKAGE / 'data').parts[0]
    for module in imported(path):
      theirs = [*module.split('.'), '', ''][2]
      if own == theirs or not {own, theirs} <= set(floor):
        continue
      if floor[theirs] >= floor[own]:
        backwards.append(f'{path.relative_to(REPO)} imports {module}')
  assert backwards == []


def needed(path: pathlib.Path, modules) -> set[str]:
  """What a file imports: a package that it names counts for its modules."""
  names = imported(path) & set(modules) - {module_of(path)}
  return {m for m in names if not any(n.startswith(f'{m}.') for n in names)}


def test_no_modules_import_each_other_in_a_circle():
  modules = {module_of(path): path for path in FILES}
  rest = {m: needed(path, modules) for m, path in modules.items()}
  # Again and again, those that need nothing that is left go.
  while free := {m for m, needs in rest.items() if not needs}:
    rest = {m: needs - free for m, needs in rest.items() if m not in free}
  # The same from above: what nothing needs is in no circle.
  while rest.keys() - (used := set().union(*rest.values())):
    rest = {m: needs for m, needs in rest.items() if m in used}
  assert rest == {}


def repeated(names) -> dict[str, int]:
  counts = collections.Counter(names)
  return {name: n for name, n in counts.items() if n > 1}


def test_a_file_stem_occurs_once():
  assert repeated(p.stem for p in FILES if p.stem != '__init__') == {}


def test_a_class_name_occurs_once():
  # But for the Model of each family.
  names = [
    node.name
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.ClassDef) and node.name != 'Model'
  ]
  assert repeated(names) == {}


def test_only_two_files_know_orbax():
  users = [
    p.name
    for p in FILES
    if re.search('^ *(import|from) orbax', p.read_text(), re.M)
  ]
  assert users == ['checkpoint.py', 'orbax_stores.py']


# `video_BTHWC`, `h_xLD`: an underscore, then axis letters, at least one of
# them a capital; `times_n` is an exception that AXES names too.
SUFFIX = re.compile(r'[a-z0-9]_([A-Za-z]*[A-Z][A-Za-z]*|[a-z])$')


@pytest.mark.parametrize('path', FILES, ids=str)
def test_every_axis_letter_is_known(path):
  for node in ast.walk(ast.parse(path.read_text())):
    names = []
    if isinstance(node, ast.Name):
      names = [node.id]
    elif isinstance(node, ast.arg):
      names = [node.arg]
    for name in names:
      match = SUFFIX.search(name)
      if match and re.search('[A-Z]', match[1]) and not name.isupper():
        assert set(match[1]) <= set(AXES), f'{path}:{node.lineno} {name}'


def test_importing_the_package_loads_no_tensorflow_and_no_torch():
  code = (
    'import sys, vidmodels, vidmodels.models; vidmodels.models.families(); '
    "bad = {'tensorflow', 'torch'} & set(sys.modules); assert not bad, bad"
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)


def test_parts_of_the_package_load_when_they_are_first_used():
  heavy = ('jax', 'tensorflow', 'torch', 'numpy')
  code = (
    'import sys, vidmodels; '
    f'assert not set({heavy}) & set(sys.modules), sys.modules; '
    "model = vidmodels.models.build('vit', classes=3, layers=1); "
    'assert model.classes == 3; '
    'vidmodels.config.skeleton, vidmodels.weights, vidmodels.analysis; '
    'vidmodels.data, vidmodels.train, vidmodels.evaluate, vidmodels.nn; '
    "bad = {'tensorflow', 'torch'} & set(sys.modules); assert not bad, bad; "
    "assert not hasattr(vidmodels, 'nothing') and 'models' in dir(vidmodels)"
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)


def test_models_and_the_step_import_without_input_and_logging_libraries():
  # Accelerator machines often have JAX and little else.
  blocked = ('clu', 'grain', 'ml_collections', 'tensorflow', 'av')
  code = (
    f'import sys\nfor name in {blocked}: sys.modules[name] = None\n'
    'import vidmodels.models.timesformer, vidmodels.train.step, '
    'vidmodels.train.build, vidmodels.train.optim'
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)


def test_the_data_path_loads_no_jax():
  code = (
    'import sys, vidmodels.data.stream.batch_stream, '
    'vidmodels.data.prepare.prepare_records, '
    "vidmodels.data.synthetic.video_sets; assert 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)


def test_only_one_file_uses_flax_s_dense_layers_and_convolutions():
  # Those do not say how rows are split, nor in which dtype gradients add up.
  layer = re.compile(r'\bnn\.(Dense|DenseGeneral|Conv|ConvTranspose|Einsum)\b')
  rest = [path for path in FILES if path.name != 'linear.py']
  assert [p.name for p in rest if layer.search(p.read_text())] == []
