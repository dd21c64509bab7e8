#!/usr/bin/env python3
"""Makes README.md from nbs/index.ipynb:  python .ci/readme.py

Keeps markdown, code and outputs (markdown, tables, pictures, text); drops cells marked `#| hide`. Pictures become files in nbs/images,
links are rewritten for the top folder. `nbdev_readme` does the same with Quarto; this needs nothing but Python."""
import base64, json, posixpath, re
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

def output(o, files):
    "One output as markdown; a picture goes into `files`"
    if o['output_type'] == 'stream': return f"```\n{''.join(o['text']).rstrip()}\n```" if o['name'] == 'stdout' else ''
    d = {k: ''.join(v) for k, v in o.get('data', {}).items()}
    if 'text/markdown' in d: return from_top(d['text/markdown'].strip())
    if 'image/png' in d:
        name = f'{images}/index-{len(files)+1}.png'
        files[name] = base64.b64decode(d['image/png'])
        return f'![]({name})'
    if 'text/html' in d: return '\n'.join(re.sub(r'\n\s*', '\n', t) for t in re.findall(r'<table.*?</table>', d['text/html'], re.S))
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
        if ds.get('output') != 'false': out += [output(o, files) for o in c['outputs']]
    head = '<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook. -->'
    return '\n\n'.join([head] + [s for s in out if s.strip()]) + '\n', files

if __name__ == '__main__':
    text, files = readme()
    for f in (top/images).glob('index-*.png'): f.unlink()
    (top/'README.md').write_text(text, encoding='utf-8')
    (top/images).mkdir(exist_ok=True)
    for f, b in files.items(): (top/f).write_bytes(b)
    print(f'README.md: {len(text.splitlines())} lines, {len(files)} pictures')
