#!/usr/bin/env python3
"""Shows the documentation without Quarto:  python .ci/pages.py [folder]

Each notebook goes through nbdev's own processing, as under `nbdev_docs`, and through nbconvert to HTML. Prints the page that lists all
pages, grouped as in the sidebar; exits with 1 where a page could not be made. .github/workflows/docs.yml makes the site with Quarto."""
import multiprocessing, os, re, shutil, sys, tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import nbformat, yaml

top = Path(__file__).resolve().parent.parent

def html(src):
    "One notebook as a page and its title"
    from execnb.nbio import read_nb, write_nb
    from nbconvert import HTMLExporter
    from nbdev.processors import FilterDefaults
    from traitlets.config import Config
    os.environ['IN_TEST'] = '1'   # as nbdev does: a notebook's own nbdev_export() does nothing
    nb = read_nb(src)
    FilterDefaults()(nb)
    with tempfile.TemporaryDirectory() as d:
        write_nb(nb, Path(d)/'nb.ipynb')
        nb = nbformat.read(Path(d)/'nb.ipynb', 4)
    # nbdev moves title and promise into front matter for Quarto; back into a heading with them
    fm = yaml.safe_load(nb.cells[0].source.strip().strip('-')) if nb.cells[0].cell_type == 'raw' else {}
    up = '../'*(len(src.relative_to(top/'nbs').parts) - 1)
    nb.cells[0] = nbformat.v4.new_markdown_cell(f"[all pages]({up}pages.html)\n\n# {fm.get('title', src.stem)}\n\n> {fm.get('description', '')}")
    for c in nb.cells:
        if '#| echo: false' in c.source: c.metadata['tags'] = ['quiet']
    quiet = Config(TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'quiet'}))
    body, _ = HTMLExporter(config=quiet, exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(nb)
    return re.sub(r'(href="[^":]+)\.ipynb', r'\1.html', body), fm.get('title', src.stem)

def main(out):
    "Every page of the sidebar in `out`; how many could not be made"
    os.chdir(top)
    groups = yaml.safe_load((top/'nbs/sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    rows, bad = [], 0
    with ProcessPoolExecutor(2, multiprocessing.get_context('spawn')) as pool:
        made = {f: pool.submit(html, top/'nbs'/f) for g in groups for f in g['contents']}
        for g in groups:
            rows.append(f"<h2>{g['section']}</h2>")
            for f in g['contents']:
                try: page, title = made[f].result()
                except Exception as e: rows.append(f'<p>{f}: not made'); bad += 1; print(f'{f}: {e}', file=sys.stderr); continue
                to = out/Path(f).with_suffix('.html')
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_text(page, encoding='utf-8')
                rows.append(f'<p><a href="{to.relative_to(out)}">{title}</a>')
    if (top/'nbs/images').exists(): shutil.copytree(top/'nbs/images', out/'images', dirs_exist_ok=True)
    (out/'pages.html').write_text('<meta charset="utf-8"><body style="font-family:sans-serif">' + '\n'.join(rows), encoding='utf-8')
    print(out/'pages.html')
    return bad

if __name__ == '__main__':
    import pages   # this file by name: the shell that runs notebooks takes __main__ from the processes that call `html`
    sys.exit(1 if pages.main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix='pages_')).resolve()) else 0)
