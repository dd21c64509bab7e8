"What holds the project together: rooms that import downwards only, notebooks that explain and test what they export, pages that agree."
import ast, builtins, configparser, dataclasses, importlib, importlib.util, inspect, json, posixpath, random, re, subprocess, sys, sysconfig
from functools import lru_cache
from pathlib import Path
import pytest, yaml

top = Path(__file__).resolve().parent.parent
nbs, lib = top/'nbs', top/'cvnets_nb'
pages = sorted(p for p in nbs.rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(nbs).parts[:-1]))
name = lambda p: p.relative_to(nbs).as_posix()

@lru_cache(None)
def cells(p): return [(c['cell_type'], ''.join(c['source']), c.get('outputs', [])) for c in json.loads(p.read_text(encoding='utf-8'))['cells']]
def code(p): return [s for t, s, _ in cells(p) if t == 'code']
def default_exp(p):
    m = re.match(r'#\| default_exp (\S+)', (code(p) or [''])[0])
    return m and m[1]
def is_export(src): return bool(re.search(r'^#\| ?export(i|s)?\b', src, re.M))

exporting = [p for p in pages if default_exp(p)]
modules = sorted(p for p in lib.rglob('*.py') if p.name != '_modidx.py')
def per(ps, root=nbs): return pytest.mark.parametrize('p', ps, ids=[p.relative_to(root).as_posix() for p in ps])

# --- rooms: the table of the design. `may`: our rooms; `only`: other packages (None: any); `lazy`: those, inside functions; `never`
below = dict(core=[], samplers=['core'], data=['core', 'samplers'], models=['core'], tasks=['core', 'samplers', 'data', 'models'],
             callback=['core', 'samplers', 'tasks'], recipes=['core', 'samplers', 'data', 'tasks', 'callback'])
order = [*below, 'learner', 'export', 'all', 'bench', 'bench_reading', 'bench_threads', 'bench_plans', 'bench_startup', 'cli_run', 'cli_ranks', 'cli', 'cli_export']
rooms = {k: dict(may=[*below.get(k, order[:i]), k]) for i, k in enumerate(order)}
rooms['core']    .update(only=['numpy', 'fastcore'], lazy=['safetensors'])
rooms['samplers'].update(only=['numpy'], lazy=['matplotlib'])
rooms['models']  .update(only=['numpy', 'torch', 'fastcore'], lazy=['torchvision', 'timm', 'safetensors', 'huggingface_hub'])
rooms['data']    .update(never=['fastai.learner', 'fastai.callback', 'timm'])
decades = dict(core='0', samplers='1', data='2', models='3', tasks='4', callback='5', recipes='6', learner='7', all='7', export='8', bench='8', bench_reading='8', bench_threads='8', bench_plans='8', bench_startup='8', cli_run='8', cli_ranks='8', cli='8', cli_export='8')

def imports(tree, package='cvnets_nb', inside=False):
    "Every module that a source in `package` imports, and whether inside a function (nbdev makes imports of the package relative)"
    for n in ast.iter_child_nodes(tree):
        if isinstance(n, ast.Import): yield from ((a.name, inside) for a in n.names)
        elif isinstance(n, ast.ImportFrom):
            m = importlib.util.resolve_name('.'*n.level + (n.module or ''), package)
            if m == 'cvnets_nb': yield from ((f'{m}.{a.name}', inside) for a in n.names)
            else: yield m, inside
        yield from imports(n, package, inside or isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

def breaches(room, src, package='cvnets_nb'):
    "What a module of `room` imports against the table"
    r, out = rooms[room], []
    for m, inside in imports(ast.parse(src), package):
        pkg = m.split('.')[0]
        if pkg == 'cvnets_nb': ok = m.split('.')[1] in r['may']
        elif pkg in sys.stdlib_module_names: ok = True
        elif 'only' in r: ok = pkg in r['only'] or inside and pkg in r.get('lazy', [])
        else: ok = not any(m == o or m.startswith(o + '.') for o in r.get('never', []))
        if not ok: out.append(m)
    return out

@per(modules, lib)
def test_rooms_import_downwards(p):
    src, (*folders, mod) = p.read_text(encoding='utf-8'), p.relative_to(lib).with_suffix('').parts
    if not folders and mod == '__init__': assert not list(imports(ast.parse(src))), 'importing the package imports nothing'
    else: assert breaches((folders + [mod])[0], src, '.'.join(['cvnets_nb', *folders])) == []

def test_the_table_bites():
    assert breaches('samplers', 'import torch') == ['torch']
    assert breaches('samplers', 'import matplotlib') and not breaches('samplers', 'def f():\n  import matplotlib.pyplot as plt')
    assert breaches('callback', 'def f():\n  from cvnets_nb.data import PlanDL') == ['cvnets_nb.data']
    assert breaches('callback', 'from ..data.loader import PlanDL', 'cvnets_nb.callback') == ['cvnets_nb.data.loader']
    assert breaches('models', 'from fastai.vision.all import *') and breaches('data', 'from fastai.callback.all import *')
    assert breaches('learner', 'from cvnets_nb import cli') and not breaches('cli', 'from cvnets_nb.learner import *')
    assert not breaches('data', 'import numpy, os, fastai.data.core')

def module_name(p):
    "The dotted name of a module's file"
    parts = p.relative_to(top).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)

known = {module_name(p): p for p in modules}
def package_of(p): return module_name(p) if p.name == '__init__.py' else module_name(p).rpartition('.')[0]

def needs(src, package):
    "Every module of ours that a source imports, at its head or inside a function"
    found = set()
    for n in ast.walk(ast.parse(src)):
        if isinstance(n, ast.Import): found |= {a.name for a in n.names}
        elif isinstance(n, ast.ImportFrom):
            m = importlib.util.resolve_name('.'*n.level + (n.module or ''), package)
            found |= {f'{m}.{a.name}' if f'{m}.{a.name}' in known else m for a in n.names}
    return found & set(known)

def cycle(graph):
    "The modules of one cycle in the order of their imports, or nothing"
    done = set()
    def visit(m, path):
        if m in path: return path[path.index(m):] + [m]
        if m in done: return []
        for o in sorted(graph.get(m, ())):
            if found := visit(o, path + [m]): return found
        done.add(m)
        return []
    for m in sorted(graph):
        if found := visit(m, []): return found
    return []

def test_imports_have_no_cycle():
    graph = {m: needs(p.read_text(encoding='utf-8'), package_of(p)) for m, p in known.items()}
    assert sum(map(len, graph.values())) > 100, 'the graph has its edges'
    assert cycle(graph) == []

def test_a_cycle_is_found():
    assert cycle(dict(a=['b'], b=['c'], c=['b'])) == ['b', 'c', 'b'] and cycle(dict(a=['b', 'c'], b=['c'])) == []
    assert needs('def f():\n  from .loader import PlanDL', 'cvnets_nb.data') == {'cvnets_nb.data.loader'}
    assert needs('from . import sized', 'cvnets_nb.data') == {'cvnets_nb.data.sized'}

private = re.compile(r'_[a-z]\w*$')

def own_names(tree):
    "The private names that a module defines: functions, classes, attributes, fields and variables"
    made = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    made |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    made |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and itself(n.value)}
    return {o for o in made if private.match(o)}

def itself(o):
    "Is `o` an object's own self, its class, or what it inherits?"
    return isinstance(o, ast.Name) and o.id in ('self', 'cls') or isinstance(o, ast.Call) and getattr(o.func, 'id', '') == 'super'

def taken(src, package, ours):
    "The private names of other modules of the package (`ours`, by module) that a source takes"
    tree = ast.parse(src)
    mine = own_names(tree)
    theirs = set().union(*ours.values()) - mine
    out = []
    for n in ast.walk(tree):
        if isinstance(n, ast.ImportFrom):
            m = importlib.util.resolve_name('.'*n.level + (n.module or ''), package)
            if m.split('.')[0] == 'cvnets_nb': out += [a.name for a in n.names if private.match(a.name)]
        elif isinstance(n, ast.Attribute) and not itself(n.value) and n.attr in theirs: out.append(n.attr)
    return out

@lru_cache(None)
def private_names(): return {m: own_names(ast.parse(p.read_text(encoding='utf-8'))) for m, p in known.items()}

@per(modules, lib)
def test_private_names_stay_at_home(p):
    assert taken(p.read_text(encoding='utf-8'), package_of(p), private_names()) == []

def test_a_private_name_is_found():
    ours = {'cvnets_nb.data.loader': {'_seed', '_pass'}}
    assert taken('from .plan import _html, Plan', 'cvnets_nb.samplers', ours) == ['_html']
    assert taken('def f(dl): dl._seed = 1', 'cvnets_nb.callback', ours) == ['_seed']
    assert taken('class A:\n  def _pass(self): return self._pass()', 'cvnets_nb.data', ours) == []
    assert taken('import torch\ntorch._foreach_lerp_()', 'cvnets_nb.callback', ours) == []

def density(files):
    "Lines of code over 120 columns and tuple assignments, per 100 lines of code, and the number of tuple statements"
    lines = long = assigned = statements = 0
    for f in files:
        src = f.read_text(encoding='utf-8')
        code = [l for l in src.split('\n') if l.strip() and not l.strip().startswith('#')]
        nodes = list(ast.walk(ast.parse(src)))
        lines += len(code)
        long += sum(len(l) > 120 for l in code)
        assigned += sum(isinstance(n, ast.Assign) and any(isinstance(t, ast.Tuple) for t in n.targets) for n in nodes)
        statements += sum(isinstance(n, ast.Expr) and isinstance(n.value, ast.Tuple) for n in nodes)
    return 100*long/lines, 100*assigned/lines, statements

def test_code_is_no_denser_than_fastais():
    import fastai
    theirs = density([p for p in Path(fastai.__file__).parent.rglob('*.py') if p.name != '_modidx.py'])
    long, assigned, statements = density(modules)
    assert 0 < theirs[0] < 5 and 0 < theirs[1] < 5, 'fastai was measured'
    assert long <= theirs[0], f'{long:.2f} lines of 100 are over 120 columns; in fastai {theirs[0]:.2f}'
    assert assigned <= theirs[1], f'{assigned:.2f} lines of 100 assign tuples; in fastai {theirs[1]:.2f}'
    assert statements == 0, f'{statements} tuples are used as statements'

def test_density_counts(tmp_path):
    f = tmp_path/'a.py'
    f.write_text('# comment\n\na, b = 1, 2\nprint(a), print(b)\nc = "' + 'x'*120 + '"\nd = 3\n')
    assert density([f]) == (25, 25, 1)

# --- notebooks
def sidebar():
    "The notebooks the sidebar lists, in order"
    return [f for g in yaml.safe_load((nbs/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents'] for f in g['contents']]

def test_sidebar_lists_every_notebook_once():
    listed = sidebar()
    assert len(listed) == len(set(listed))
    assert set(listed) - set(map(name, pages)) == set(), 'listed, but not there'
    assert set(map(name, pages)) - set(listed) == set(), 'there, but not listed'

def test_the_site_has_one_configuration():
    assert (nbs/'_quarto.yml').is_symlink() and (nbs/'_quarto.yml').resolve() == top/'_quarto.yml'

@per(pages)
def test_notebook_says_what_it_is(p):
    md = [s for t, s, _ in cells(p) if t == 'markdown']
    assert re.match(r'# \S.*\n\s*\n?> \S', md[0]), 'the first words are `# Title` and `> a promise`'
    assert all(not l or l[0] in '#>' for l in md[0].splitlines()), 'nbdev takes the whole title cell for the page head: what follows goes into a cell of its own'
    assert not p.parent.samefile(nbs) or p.stem == 'index' or default_exp(p), 'the first code cell says `#| default_exp`'
    assert p.parent.samefile(nbs) or not any(map(is_export, code(p))), 'tutorials and benchmarks export nothing'
    assert not any('TODO' in s for _, s, _ in cells(p)), 'something is still to be filled in'

@per(exporting)
def test_number_and_name_say_the_module(p):
    num, mod = p.stem.split('_', 1)
    assert mod == default_exp(p)
    assert num[0] == decades[mod.split('.')[0]]

def test_every_module_comes_from_a_notebook():
    made = {default_exp(p).replace('.', '/') + '.py' for p in exporting} | {'__init__.py'}
    empty = {m.relative_to(lib).as_posix() for m in modules if m.name == '__init__.py' and not m.read_text().strip()}
    assert {m.relative_to(lib).as_posix() for m in modules} - made - empty == set()

def defines(src): return any(not isinstance(n, (ast.Import, ast.ImportFrom)) and '_all_' not in ast.dump(n) for n in ast.parse(src).body)
tests_something = re.compile(r'\btest_\w+\(|^\s*assert\b|expect_fail\(|ExceptionExpected', re.M)

@per(exporting)
def test_what_is_exported_is_short_and_shown(p):
    exported = [s for s in code(p) if is_export(s)]
    assert [s.splitlines()[1] for s in exported if len(s.splitlines()) > 45] == [], 'an exported cell is at most 45 lines'
    n = sum(map(defines, exported))
    tests = sum(bool(tests_something.search(s)) for s in code(p) if not is_export(s))
    assert tests >= .8*n, f'{tests} cells test {n} exported ones: at least 0.8 of them'

def borrowed(src):
    "Names a cell uses and does not make itself"
    ns = list(ast.walk(ast.parse(src)))
    made = {n.id for n in ns if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)} | {n.arg for n in ns if isinstance(n, ast.arg)}
    made |= {(a.asname or a.name).split('.')[0] for n in ns if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    made |= {n.name for n in ns if isinstance(n, (ast.FunctionDef, ast.ClassDef))} | set(dir(builtins))
    return {n.id for n in ns if isinstance(n, ast.Name)} - made

@per(exporting)
def test_imports_stand_alone(p):
    "To document a page nbdev runs its exported cells and every cell with an import, and nothing else: those must not need the rest"
    for src in code(p):
        src = re.sub(r'^\s*[%!].*', '', src, flags=re.M)
        if is_export(src) or not any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.walk(ast.parse(src))): continue
        assert not borrowed(src), f'imports belong into a cell of their own; this one also needs {borrowed(src)}:\n{src}'

@per(pages)
def test_outputs_are_clean(p):
    for _, s, outs in cells(p):
        assert not any(o['output_type'] == 'error' for o in outs), f'an error was stored:\n{s}'
        assert not any(o.get('name') == 'stderr' for o in outs), f'a warning was stored:\n{s}'

@per(pages)
def test_links_between_pages_lead_somewhere(p):
    for t, s, _ in cells(p):
        if t != 'markdown': continue
        for to in re.findall(r'\]\(([^)\s]+)\)', re.sub(r'```.*?```|`[^`]*`', '', s, flags=re.S)):
            if re.match(r'[a-z]+:|#|attachment', to): continue
            assert (p.parent/to.split('#')[0]).exists(), f'{to}: link to the notebook (…ipynb) as it lies beside this one'

# --- the package, as a user meets it
def symbols():
    "Every public name the notebooks define: functions, classes, their public methods and what is patched onto others' classes"
    d = importlib.import_module('cvnets_nb._modidx').d
    for mod, syms in d['syms'].items():
        for full in syms:
            path = full[len(mod)+1:].split('.')
            if any(o.startswith('_') for o in path): continue
            o = owner = importlib.import_module(mod)
            for a in path: owner, o = o, inspect.getattr_static(o, a)
            if isinstance(o, (staticmethod, classmethod)): o = o.__func__
            if callable(o): yield full, path, owner, o

events = re.compile(r'forward$|(en|de)codes$|setups$|(before|after)_\w+$')   # what torch and fastai call, and explain

def words(path, owner, o):
    "What a symbol has to say, as {parameter (None: the docstring): words}; nothing where the name and its words are somebody else's"
    from fastcore.docments import docments
    if isinstance(o, type): theirs = '__init__' not in vars(o) and not dataclasses.is_dataclass(o)
    else: theirs = len(path) > 1 and (events.match(path[-1]) or any(path[-1] in vars(b) for b in owner.__mro__[1:] if not b.__module__.startswith('cvnets_nb')))
    if theirs: return {None: inspect.getdoc(o)} if isinstance(o, type) else {}
    docs = {k:v for c in (reversed(o.__mro__[:-1]) if dataclasses.is_dataclass(o) else [o]) for k, v in docments(c).items() if v}   # a field is explained where it is defined
    ps = [k for k, v in inspect.signature(o).parameters.items() if k not in ('self', 'cls') and v.kind != v.VAR_KEYWORD]
    return {None: inspect.getdoc(o), **{k: docs.get(k) for k in ps}}

def test_every_public_parameter_is_explained():
    said = [(full, path[-1], k, w) for full, path, owner, o in symbols() for k, w in words(path, owner, o).items()]
    once = {(nm, k) for _, nm, k, w in said if w}   # a method that several classes share is explained in one of them
    bad = [f'{full}({k or ""})' for full, nm, k, w in said if (nm, k) not in once]
    assert not bad, 'no words beside (empty brackets: no docstring):\n' + '\n'.join(bad)

def test_all_shadows_nothing():
    ours = importlib.import_module('cvnets_nb.all')
    theirs = importlib.import_module('fastai.vision.all')
    assert ours.__all__
    new = {k for k in ours.__all__ if getattr(getattr(ours, k), '__module__', '').startswith('cvnets_nb')}
    assert {k for k in ours.__all__ if hasattr(builtins, k)} == set()
    assert {k for k in new if getattr(theirs, k, getattr(ours, k)) is not getattr(ours, k)} == set()
    assert {k for k in ours.__all__ if k not in new and hasattr(theirs, k) and getattr(theirs, k) is not getattr(ours, k)} == set()

def test_command_is_installed():
    exe = Path(sysconfig.get_path('scripts'))/'cvnets_train'
    cmd = [exe] if exe.exists() else [sys.executable, '-c', 'import sys; from cvnets_nb.cli import cvnets_train; sys.argv[0] = "cvnets_train"; cvnets_train()']
    r = subprocess.run([*cmd, '--help'], capture_output=True, text=True, cwd=top)
    assert r.returncode == 0, r.stderr
    for o in ('--data', '--arch', '--sampler', '--set', '--no-set', '--recipe', '--epochs', '--size', '--bs', '--out', '--seed', '--resume'): assert o in r.stdout

def test_requirements_are_not_pinned_from_above():
    cfg = configparser.ConfigParser(delimiters=['='])
    cfg.read(top/'settings.ini', encoding='utf-8')
    req = cfg['DEFAULT']['requirements'].split()
    assert {re.split(r'[<>=~!]', r)[0] for r in req if re.search(r'<|~=|==', r)} <= {'albumentations'}   # 2.0.8 is its last release under a free licence
    assert not {'nbdev', 'execnb'} & {re.split(r'[<>=~!]', r)[0] for r in req}

# --- the pages outside the notebooks
@lru_cache(None)
def readme_script():
    spec = importlib.util.spec_from_file_location('readme', top/'.ci/readme.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

def test_readme_is_the_index():
    text, files = readme_script().readme()
    assert (top/'README.md').read_text(encoding='utf-8') == text, 'run python .ci/readme.py'
    assert {f: (top/f).read_bytes() for f in files} == files, 'run python .ci/readme.py'
    for to in re.findall(r'\]\(([^)\s]+)\)', text): assert re.match(r'https?:|#', to) or (top/to.split('#')[0]).exists(), to

def md_tables(text):
    "Markdown's tables as lists of rows, the names of the columns first"
    found = re.findall(r'(?:^\|.*\|\n)+', text, re.M)
    return [[[c.strip() for c in l.strip().strip('|').split('|')] for i, l in enumerate(t.splitlines()) if i != 1] for t in found]

def test_readme_is_a_page_to_look_at():
    text = (top/'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) < 200
    assert '<table' not in text and '```html' not in text, 'GitHub drops the styles of HTML tables: Markdown ones'
    assert re.search(r'!\[[^]]+\]', text[:text.index('## Install')]), 'a picture with words for who cannot see it, near the top'
    tables = md_tables(text)
    losses = [float(row[t[0].index('valid_loss')]) for t in tables if 'valid_loss' in t[0] for row in t[1:]]
    assert losses and max(losses) <= 3, f'a first training that looks broken: {losses}'
    main, = [t for t in tables if {'time', 'updates', 'pixels'} <= set(t[0])]
    assert len(main) > 5 and all(all(row) for row in main[1:]), 'an arm that never got there says so in words'
    assert not [row for t in tables for row in t[1:] if not any(row[1:])], 'a row without a cell'

def test_readme_tables_are_markdown():
    mod = readme_script()
    def md(html): return mod.output(dict(output_type='display_data', data={'text/html': html, 'text/markdown': '```html\n<table>\n```'}), {})
    head = '<tr style="text-align: right;"><th></th><th>n</th><th>what</th></tr><tr><th>arm</th><th></th><th></th></tr>'
    assert md(f'<style>a</style><table><thead>{head}</thead><tbody><tr><th>a|b</th>\n<td>1</td><td>x\n &lt; y</td></tr></tbody></table>') == (
        '| arm | n | what |\n| --- | ---: | --- |\n| a\\|b | 1 | x &lt; y |')
    tall = '<tr><th rowspan="2">a</th><td>1</td><td>–</td></tr><tr><td>-2.5</td><td>≈ 3 M</td></tr><tr><th>b</th><td colspan="2">4</td></tr>'
    assert md(f'<table>{tall}</table>').splitlines()[1:] == ['| --- | ---: | ---: |', '| a | 1 | – |', '|  | -2.5 | ≈ 3 M |', '| b | 4 |  |']
    pd = pytest.importorskip('pandas')
    df = pd.DataFrame({'x': [1., 2.]}, index=pd.MultiIndex.from_tuples([('p', 'q'), ('p', 'r')]))
    assert md(df.to_html()).splitlines() == ['|  |  | x |', '| --- | --- | ---: |', '| p | q | 1.0 |', '|  | r | 2.0 |']

@pytest.mark.parametrize('x', ['seconds', 'updates', 'pixels', 'flops'])
@pytest.mark.parametrize('table', ['frontier_sign', 'frontier_cifar', 'together_sign'])
def test_labels_of_a_frontier_stand_apart(table, x):
    from matplotlib.figure import Figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from cvnets_nb.bench import plot_frontier, read_rows
    fig = Figure(figsize=(6, 4))
    canvas = FigureCanvasAgg(fig)
    ax = plot_frontier(read_rows(nbs/f'benchmarks/{table}.csv'), x, fig.add_subplot())
    canvas.draw()
    labels = [l for l in ax.get_xticklabels() + ax.get_xticklabels(minor=True) if l.get_text()]
    lo, hi = ax.get_xlim()
    boxes = sorted((b.x0, b.x1) for l in labels if lo <= l.get_position()[0] <= hi for b in [l.get_window_extent(canvas.get_renderer())])
    assert 3 <= len(boxes) <= 7
    assert all(a[1] + 4 < b[0] for a, b in zip(boxes, boxes[1:])), 'labels on one another'
    assert not any('10^' in l.get_text() or 'e+' in l.get_text() for l in labels), 'plain numbers'

def tracked():
    out = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=top, capture_output=True, text=True)
    if out.returncode: pytest.skip('not a git checkout')
    for f in out.stdout.split('\n'):
        p = top/f
        if f and p.is_file() and p.suffix in ('.py', '.ipynb', '.md', '.ini', '.toml', '.yml', '.css', '.csv', '') and p.name != 'LICENSE':
            yield f, re.sub(r'"image/\w+": "[^"]*"', '', p.read_text(encoding='utf-8'))   # a picture's letters say nothing

def test_nothing_knows_this_machine():
    rules = {'a path of one machine': r'/(?:tmp|work|root|home)/[a-z]', 'a folder outside the project': r'\.\./share[d]',
             "a registry's host": r'py[p]i\.(org|io)|pytho[n]hosted|npmj[s]\.|anacond[a]\.org|pytorc[h]\.org/whl'}
    bad = [f'{f}: {why}: {m[0]}' for f, s in tracked() for why, r in rules.items() if (m := re.search(r, s))]
    assert not bad, '\n'.join(bad)

def test_every_test_begins_with_the_same_random_numbers():
    assert random.random() == random.Random(0).random()
