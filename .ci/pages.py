#!/usr/bin/env python3
"""Shows the documentation without Quarto:  python .ci/pages.py [folder]

Runs nbdev's own processing (as `nbdev_docs` would) into _proc, then nbconvert to HTML. Prints the page that lists all pages, grouped as
in the sidebar. The site itself is made by .github/workflows/docs.yml with Quarto."""
import os, re, shutil, sys, tempfile
from pathlib import Path
import nbformat, yaml

top = Path(__file__).resolve().parent.parent

def titled(nb):
    "nbdev moves title and promise into front matter for Quarto; put them back as a heading"
    raw = nb.cells[0].source if nb.cells and nb.cells[0].cell_type == 'raw' else ''
    fm = yaml.safe_load(raw.strip().strip('-')) or {}
    if 'title' in fm:
        nb.cells[0] = nbformat.v4.new_markdown_cell(f"[all pages](PAGES)\n\n# {fm['title']}\n\n> {fm.get('description', '')}")
    for c in nb.cells:
        if '#| echo: false' in c.source: c.metadata['tags'] = ['quiet']
    return nb, fm.get('title')

def pages(out):
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    from nbconvert import HTMLExporter
    from traitlets.config import Config
    os.chdir(top)
    refresh_quarto_yml()
    quiet = Config(TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'quiet'}))
    html = HTMLExporter(config=quiet, exclude_input_prompt=True, exclude_output_prompt=True)
    proc, rows = proc_nbs(n_workers=2), []
    for group in yaml.safe_load((top/'nbs/sidebar.yml').read_text())['website']['sidebar']['contents']:
        rows.append(f"<h2>{group['section']}</h2>")
        for f in group['contents']:
            if not (proc/f).exists(): rows.append(f'<li>{f} is not there</li>'); continue
            nb, title = titled(nbformat.read(proc/f, 4))
            to = out/Path(f).with_suffix('.html')
            to.parent.mkdir(parents=True, exist_ok=True)
            body, _ = html.from_notebook_node(nb)
            up = os.path.relpath(out/'pages.html', to.parent)
            to.write_text(re.sub(r'(href="[^":]+)\.ipynb', r'\1.html', body.replace('href="PAGES"', f'href="{up}"')), encoding='utf-8')
            rows.append(f'<li><a href="{to.relative_to(out)}">{title or f}</a></li>')
    if (top/'nbs/images').exists(): shutil.copytree(top/'nbs/images', out/'images', dirs_exist_ok=True)
    (out/'pages.html').write_text('<meta charset="utf-8"><body style="font-family:sans-serif">' + '\n'.join(rows), encoding='utf-8')
    return out/'pages.html'

if __name__ == '__main__':
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix='cvnets_pages_'))
    print(pages(out.resolve()))
