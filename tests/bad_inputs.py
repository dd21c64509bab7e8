"Files that are not what their names say, some of them hostile, for the table of bad inputs"
import io, json, os, pickle, zipfile
from pathlib import Path
import numpy as np, torch
from PIL import Image

class Evil:
    "Unpickled, it would make a file"
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return os.mkdir, (self.mark,)

def _put(file, what=b''):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(what if isinstance(what, bytes) else what.encode())

def _image(file, n=40):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(n).integers(0, 256, (40,48,3), dtype=np.uint8)).save(file)

def _pixel_bomb(file, side=40_000):
    "A PNG of a few bytes that says that it has so many pixels a side"
    import struct, zlib
    def chunk(k, v): return struct.pack('>I', len(v)) + k + v + struct.pack('>I', zlib.crc32(k + v))
    _put(file, b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'\0'*1000)) + chunk(b'IEND', b''))

def _zip_bomb(file, mib=64):
    "A .pth whose parts are inflated a thousandfold"
    good = io.BytesIO()
    torch.save({'weight':torch.zeros(8)}, good)
    with zipfile.ZipFile(good) as z, zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as to:
        for o in z.namelist(): to.writestr(o, bytes(mib*2**20) if o.endswith('data/0') else z.read(o))

def _images(d):
    for c in 'ab':
        for i in range(6): _image(d/'photos'/c/f'{i}.png', i)
        for nm in ('bad','bomb','newline'):
            for i in range(3): _image(d/nm/c/f'{i}.png', i)
    whole = (d/'photos'/'a'/'0.png').read_bytes()
    _put(d/'text.png', 'this is no image\n'), _put(d/'empty.jpg'), _put(d/'cut.jpg', whole[:300]), _put(d/'new\nline.jpg', 'no image')
    _put(d/'bad'/'a'/'x.png', 'no image'), _put(d/'newline'/'a'/'x\ny.png', 'no image')
    _pixel_bomb(d/'bomb.png'), _pixel_bomb(d/'bomb'/'a'/'x.png')
    (d/'empty').mkdir()
    os.symlink(d/'loop.jpg', d/'loop.jpg'), os.symlink(d/'loop.pth', d/'loop.pth')
    (d/'loop'/'a').mkdir(parents=True)
    os.symlink(d/'loop', d/'loop'/'a'/'again')

def _weights(d):
    good = io.BytesIO()
    torch.save({'weight':torch.zeros(8)}, good)
    _put(d/'text.pth', 'this is no checkpoint'), _put(d/'empty.pth'), _put(d/'cut.pth', good.getvalue()[:200]), _put(d/'other.pth', good.getvalue())
    torch.save({k:torch.full_like(v, float('nan')) for k,v in torch.nn.Linear(4, 2).state_dict().items()}, d/'nan.pth')
    torch.save(Evil(str(d/'HACKED')), d/'evil.pth')
    torch.save(Evil(str(d/'HACKED')), d/'evil_old.pth', _use_new_zipfile_serialization=False)
    _put(d/'evil.pkl', pickle.dumps(Evil(str(d/'HACKED'))))
    _zip_bomb(d/'bomb.pth')
    from safetensors.torch import save_file
    save_file({'weight':torch.zeros(8)}, d/'whole.safetensors')
    _put(d/'cut.safetensors', (d/'whole.safetensors').read_bytes()[:-10]), _put(d/'text.safetensors', 'this is no file of tensors'), _put(d/'empty.safetensors')
    _put(d/'header.safetensors', (2**62).to_bytes(8, 'little') + b'{}')
    torch.save(dict(callbacks={}, epoch=1), d/'half.pth')
    torch.save(dict(callbacks={}, epoch=1, n_epoch=2, rng=[{}], model={'weight':torch.zeros(8)}, opt={}, frozen_idx=0, seed=None, scaler=None), d/'check_other.pth')

def _tables(d):
    def table(nm, text):
        for i in range(4): _image(d/nm/f'{i}.png', i)
        _put(d/nm/'labels.csv', text)
    rows = ''.join(f'{i}.png,{i}\n' for i in range(4))
    table('table_empty', ''), table('table_nan', 'file,v\n' + rows.replace(',2', ',nan')), table('table_missing', 'file,v\n' + rows + 'gone.png,1\n')
    table('table_binary', b'\xff\xfe\x00\x01\x00\xff'*20), table('table_twice', 'file,v\n' + rows + '0.png,7\n'), table('table_huge', 'file,v\n' + rows.replace(',2', ',1e400'))

def _boxes(d):
    def put(nm, text):
        _image(d/nm/'a'/'0.png'), _put(d/nm/'boxes.json', text)
    def coco(nm, images=None, boxes=None): put(nm, json.dumps(dict(images=images or [dict(id=1, file_name='a/0.png', width=48, height=40)],
        annotations=boxes or [dict(id=1, image_id=1, category_id=1, bbox=[1,2,10,10])], categories=[dict(id=1, name='dog')])))
    coco('coco_whole')
    put('coco_cut', (d/'coco_whole'/'boxes.json').read_bytes()[:-40]), put('coco_list', '[1, 2]'), put('coco_deep', '['*100_000 + ']'*100_000), put('coco_text', 'no JSON')
    coco('coco_nan', boxes=[dict(id=1, image_id=1, category_id=1, bbox=[1,2,float('nan'),10])]), coco('coco_path', [dict(id=1, file_name='../../../etc/passwd', width=4, height=4)])
    for nm,text in dict(voc_cut='<annotation><object><name>dog</na', voc_none='<annotation></annotation>', voc_bomb='<!DOCTYPE a [<!ENTITY a "lol">' + ''.join(
            f'<!ENTITY {b} "{("&"+a+";")*10}">' for a,b in zip('abcdefgh','bcdefghi')) + ']><annotation><object><name>&i;</name></object></annotation>').items():
        _image(d/nm/'0.png'), _put(d/nm/'0.xml', text)
    for nm,text in dict(yolo_nan='0 .5 .5 nan .1', yolo_short='0 .5 .5', yolo_class='7 .5 .5 .1 .1').items():
        _image(d/nm/'images'/'0.png'), _put(d/nm/'labels'/'0.txt', text), _put(d/nm/'data.yaml', 'names: [dog]\n')

def _rest(d):
    _put(d/'evil.yaml', f'name: !!python/object/apply:os.mkdir ["{d}/HACKED"]\n'), _put(d/'cut.yaml', 'name: {a: [1,'), _put(d/'list.yaml', '- 1\n- 2\n'), _put(d/'unknown.yaml', 'name: mine\nnonsense: 1\n')
    _put(d/'types.yaml', 'name: mine\nepochs: many\n'), _put(d/'binary.yaml', bytes(range(256)))
    _put(d/'bomb.yaml', 'a0: &a0 [1,1,1,1,1,1,1,1,1]\n' + ''.join(f'a{i}: &a{i} [{",".join([f"*a{i-1}"]*9)}]\n' for i in range(1, 9)))
    for nm in ('text.mp4','text.onnx','text.tflite','m.txt'): _put(d/nm, 'this is not what its name says')
    for nm in ('empty.mp4','empty.onnx'): _put(d/nm)
    for nm,text in dict(run_cut='{"args": {', run_list='[1, 2]', run_empty='', run_half='{"args": 5}').items(): _put(d/nm/'run.json', text)

def bad_files(d):
    "Make them all in the folder `d`"
    d = Path(d)
    for make in (_images, _weights, _tables, _boxes, _rest): make(d)
    return d
