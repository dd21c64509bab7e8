#!/usr/bin/env python3
"""Makes README.md from nbs/index.ipynb:  python .ci/readme.py

Keeps markdown, code and outputs (markdown, tables, pictures, text); drops cells marked `#| hide`. Pictures become files in nbs/images,
tables become Markdown (GitHub drops the styles of HTML ones), links are rewritten for the top folder. `nbdev_readme` does the same with
Quarto, tables apart; this needs nothing but Python."""
import base64, html, json, posixpath, re
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

top = Path(__file__).resolve().parent.parent
images = 'nbs/images'

def directives(src):
    "The `#|` directives at the head of a cell, and the code without them"
    ls = src.splitlines()
    ds = {m[1].strip(':'): m[2] for l in ls if (m := re.match(r'#\|\s*(\S+)\s*(.*)', l))}
    return ds, '\n'.join(l for l in ls if not l.startswith('#|')).strip('\n')

def from_top(text):
    "Links of a page in nbs/, as they read from the top folder"
    def fix(m):
        to = m[2]
        return m[0] if re.match(r'[a-z]+:|#|/', to) else f'{m[1]}{posixpath.normpath(posixpath.join("nbs", to))}{m[3]}'
    return re.sub(r'(\]\(|src=")([^)"\s]+)([)"])', fix, text)

class Tables(HTMLParser):
    "The tables of a piece of HTML, each as its rows above and its rows below the line"
    def __init__(self, text):
        super().__init__()
        self.tables,self.part,self.cell,self.below = [],1,None,{}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == 'table': self.tables.append(([],[]))
        if tag in ('thead','tbody'): self.part,self.below = int(tag == 'tbody'),{}
        if tag == 'tr': self.tables[-1][self.part].append([])
        if tag in ('th','td'): self.cell,self.attrs = '',dict(attrs)

    def handle_data(self, data):
        if self.cell is not None: self.cell += data

    def handle_endtag(self, tag):
        if tag not in ('th','td'): return
        row,span = self.tables[-1][self.part][-1],lambda k: int(self.attrs.get(k, 1)) - 1
        while self.below.get(len(row)):      # a cell from above reaches down to here
            self.below[len(row)] -= 1
            row.append('')
        self.below[len(row)] = span('rowspan')
        row += [re.sub(r'[ \t\r\n]+', ' ', self.cell).strip(' ')] + ['']*span('colspan')
        self.cell = None

def pipes(head, body):
    "A Markdown table; the rows of the head become one, columns of numbers stand to the right"
    n = max(map(len, head + body))
    pad = lambda row: row + ['']*(n - len(row))
    names = [' '.join(filter(None, col)) for col in zip_longest(*map(pad, head))] or ['']*n
    body = [pad(row) for row in body]
    number = lambda cell: re.match(r'[-+−≈ ]*\d|–?$', cell)
    line = ['---:' if all(map(number, col)) else '---' for col in zip(*body)] or ['---']*n
    safe = lambda cell: html.escape(cell, quote=False).replace('|', '\\|')
    return '\n'.join(f"| {' | '.join(map(safe, row))} |" for row in [names, line, *body])

def output(o, files, alt=''):
    "One output as markdown; a picture goes into `files`"
    if o['output_type'] == 'stream': return f"```\n{''.join(o['text']).rstrip()}\n```" if o['name'] == 'stdout' else ''
    d = {k: ''.join(v) for k, v in o.get('data', {}).items()}
    tables = Tables(d.get('text/html', '')).tables
    if tables: return '\n\n'.join(pipes(*t) for t in tables)
    if 'text/markdown' in d: return from_top(d['text/markdown'].strip())
    if 'image/png' in d:
        name = f'{images}/index-{len(files)+1}.png'
        files[name] = base64.b64decode(d['image/png'])
        return f'![{alt}]({name})'
    if 'text/html' in d: return ''
    return f"```\n{d['text/plain'].rstrip()}\n```" if 'text/plain' in d else ''

def readme(path=top/'nbs/index.ipynb'):
    "README's text, and its pictures as {file name: bytes}"
    out, files = [], {}
    for c in json.loads(Path(path).read_text(encoding='utf-8'))['cells']:
        src = ''.join(c['source'])
        if c['cell_type'] == 'markdown': out.append(from_top(src)); continue
        ds, code = directives(src)
        if 'hide' in ds: continue
        if ds.get('echo') != 'false': out.append(f'```python\n{code}\n```')
        if ds.get('output') != 'false': out += [output(o, files, ds.get('fig-alt', '').strip('"')) for o in c['outputs']]
    head = '<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook. -->'
    return '\n\n'.join([head] + [s for s in out if s.strip()]) + '\n', files

if __name__ == '__main__':
    text, files = readme()
    for f in (top/images).glob('index-*.png'): f.unlink()
    (top/'README.md').write_text(text, encoding='utf-8')
    (top/images).mkdir(exist_ok=True)
    for f, b in files.items(): (top/f).write_bytes(b)
    print(f'README.md: {len(text.splitlines())} lines, {len(files)} pictures')
