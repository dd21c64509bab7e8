"The folder of a run: who owns it, what it was made from, and what bad ends leave in it"
import errno, gzip, io, json, multiprocessing, os, shutil, sys
import numpy as np, pytest
from pathlib import Path
from PIL import Image
from cvnets_nb.callback import CheckpointCallback
from cvnets_nb.cli import cvnets_train
from cvnets_nb.cli_run import folder_lock
from cvnets_nb.recipes import get_recipe

quick = '--arch mobilenetv1_025 --size 32 --bs 64 --workers 0 --epochs 2'.split()
made = {'run.json', 'model.pkl', 'weights.safetensors', 'cost.csv', 'cost.png'}

def refused(capsys, *argv, code=2, warned=0):
    "What the command says when it ends: one line, after so many warnings"
    capsys.readouterr()
    with pytest.raises(SystemExit) as e: cvnets_train(list(map(str, argv)))
    err = '\n'.join(capsys.readouterr().err.strip().split('\n')[warned:])
    assert e.value.code == code and err.startswith('cvnets_train: ') and '\n' not in err, err
    return err

def contents(path): return {str(o.relative_to(path)): o.read_bytes() for o in sorted(path.rglob('*')) if o.is_file()}
def names(path): return {o.name for o in path.iterdir()}

def interrupted(argv):
    "A run that is stopped in its second epoch"
    def stop(self):
        if self.learn.epoch == 1: raise KeyboardInterrupt
    with pytest.MonkeyPatch.context() as m, pytest.raises(SystemExit) as e:
        m.setattr(CheckpointCallback, 'before_batch', stop, raising=False)
        cvnets_train(list(map(str, argv)))
    assert e.value.code == 130

@pytest.fixture(scope='module')
def trained(digit_files, tmp_path_factory):
    "A folder of images and a run of it that was interrupted, each with a copy"
    base = tmp_path_factory.mktemp('runs')
    for o in ('data', 'data_was'): shutil.copytree(digit_files, base/o)
    interrupted([*quick, '--data', base/'data', '--out', base/'run'])
    return base

@pytest.fixture
def data(trained):
    "As it was, times included"
    shutil.rmtree(trained/'data')
    return Path(shutil.copytree(trained/'data_was', trained/'data'))

@pytest.fixture
def part(trained, data, tmp_path, capsys):
    "A run of `data` that can be resumed"
    return Path(shutil.copytree(trained/'run', tmp_path/'run'))

# One owner

def test_a_folder_in_use_is_refused_and_stays_as_it_is(part, data, capsys):
    before = contents(part)
    with folder_lock(part):
        for argv in (['--resume'], [*quick, '--data', data]):
            assert f'run is in use by process {os.getpid()} on ' in refused(capsys, *argv, '--out', part)
    assert contents(part) == before
    cvnets_train(['--resume', '--out', str(part)])
    assert names(part) == made

def test_it_is_locked_while_it_trains(data, tmp_path, monkeypatch, capsys):
    said, out = [], tmp_path/'run'
    def other(self):
        if not said:
            with pytest.raises(SystemExit): cvnets_train(['--resume', '--out', str(out)])
            said.append(capsys.readouterr().err)
    monkeypatch.setattr(CheckpointCallback, 'before_batch', other, raising=False)
    cvnets_train([*quick, '--data', str(data), '--out', str(out)])
    assert f'is in use by process {os.getpid()} on ' in said[0] and said[0].count('\n') == 1 and names(out) == made

def test_what_a_killed_process_left_is_cleared(part, data, capsys):
    "Halves of files, and the checkpoints of a run that was finished"
    halves = [part/f'.run.json.{"a"*32}', part/'.tmpAbCd12', part/'checkpoint'/f'.last.pth.{"0"*32}']
    for f in halves: f.write_bytes(b'half')
    kept = shutil.copytree(part/'checkpoint', part.parent/'kept')
    (part/'.lock').write_text('{"pid": 1, "host": "elsewhere"}')        # of a process that is gone
    cvnets_train(['--resume', '--out', str(part)])
    assert names(part) == made and (kept/'last.pth').is_file()
    shutil.copytree(kept, part/'checkpoint')                             # killed before it could delete them
    cvnets_train(['--resume', '--out', str(part)])
    assert names(part) == made and 'accuracy' in capsys.readouterr().out

# What a run was made from

def swap(a, b):
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y), b.write_bytes(x)

def test_changed_files_are_named(part, data, capsys):
    resume = '--resume', '--out', part
    a, b, *_ = files = sorted((data/'no 1').iterdir())
    shown = lambda f: f.relative_to(data).as_posix()
    before = contents(part)
    a.rename(a.with_name('other.png'))
    assert f'{shown(a)} was renamed to no 1/other.png' in refused(capsys, *resume)
    a.with_name('other.png').rename(a)
    held = a.read_bytes()
    a.unlink()
    said = refused(capsys, *resume)
    assert f'{shown(a)} was renamed or is gone' in said and 'put them back' in said
    a.write_bytes(held)
    (data/'no 1'/'copy.png').write_bytes(held)
    assert 'no 1/copy.png is new' in refused(capsys, *resume)
    (data/'no 1'/'copy.png').unlink()
    swap(a, b)
    said = refused(capsys, *resume)
    assert shown(a) in said and shown(b) in said
    swap(a, b)
    for f in files[:5]: Image.new('L', (8, 8)).save(f, 'png')
    said = refused(capsys, *resume)
    assert 'and 2 more' in said and said.count('no 1/') == 3, said
    assert contents(part) == before

def test_a_copied_folder_goes_on(part, data, capsys):
    "Other times, the same contents"
    shutil.copytree(data, data.with_name('copy')), shutil.rmtree(data), data.with_name('copy').rename(data)
    for f in data.rglob('*.*'): os.utime(f)
    cvnets_train(['--resume', '--out', str(part)])
    assert names(part) == made

def test_a_mask_is_a_file_too(tmp_path, capsys):
    from cvnets_nb.tasks.segmentation.data import scene_items
    for d in ('images', 'labels'): (tmp_path/'d'/d).mkdir(parents=True)
    for i, (im, m) in enumerate(scene_items(10, (32, 48))):
        Image.fromarray(im).save(tmp_path/'d'/'images'/f'{i}.jpg')
        Image.fromarray(np.where(m == 255, 11, m).astype(np.uint8)).save(tmp_path/'d'/'labels'/f'{i}.png')
    (tmp_path/'d'/'codes.txt').write_text('\n'.join(['background', *map(str, range(10)), 'void']))
    interrupted(['--data', tmp_path/'d', '--arch', 'mobilenetv2_025', '--size', '32x48', '--bs', 4, '--epochs', 2, '--workers', 0, '--out', tmp_path/'run'])
    swap(tmp_path/'d'/'labels'/'3.png', tmp_path/'d'/'labels'/'4.png')
    said = refused(capsys, '--resume', '--out', tmp_path/'run', warned=2)
    assert 'labels/3.png' in said and 'labels/4.png' in said and 'images/' not in said

def test_a_changed_label_is_named(tmp_path, capsys):
    (tmp_path/'d').mkdir()
    for i in range(12): Image.new('L', (40, 48), i).save(tmp_path/'d'/f'{i}.png')
    rows = ['file,tilt,is_valid', *(f'{i}.png,{i/12:.2f},{int(i > 8)}' for i in range(12))]
    def write(rows): (tmp_path/'d'/'labels.csv').write_text('\n'.join(rows))
    write(rows)
    interrupted([*quick, '--bs', 4, '--data', tmp_path/'d', '--out', tmp_path/'run'])
    write([*rows[:4], '3.png,0.5,0', *rows[5:]])
    assert 'the labels or boxes of 3.png changed' in refused(capsys, '--resume', '--out', tmp_path/'run')
    write([*rows[:4], '3.png,0.25,1', *rows[5:]])
    assert '3.png moved from training to validation' in refused(capsys, '--resume', '--out', tmp_path/'run')

def test_a_changed_recipe_is_named(data, tmp_path, capsys):
    mine = tmp_path/'mine.yaml'
    get_recipe('small_data').replace(name='mine', lr=.01, lr_min=0., lr_start=0.).to_yaml(mine)
    interrupted([*quick, '--data', data, '--recipe', mine, '--out', tmp_path/'run'])
    text = mine.read_text()
    mine.write_text(text.replace('lr: 0.01', 'lr: 0.02'))
    said = refused(capsys, '--resume', '--out', tmp_path/'run')
    assert 'mine.yaml changed since this run began: lr 0.01, then 0.02; put it back' in said
    mine.write_text('# a comment\n' + text)
    cvnets_train(['--resume', '--out', str(tmp_path/'run')])
    assert names(tmp_path/'run') == made

def test_the_sampler_that_was_chosen_is_kept(data, tmp_path, monkeypatch, capsys):
    "As on a machine whose default is another"
    out = tmp_path/'run'
    interrupted([*quick, '--data', data, '--out', out])
    assert json.loads((out/'run.json').read_text())['args']['sampler'] == 'ssc_fbs'
    monkeypatch.setattr('cvnets_nb.learner.usual_sampler', lambda *a: pytest.fail('the default was asked for again'))
    assert '--sampler msc_vbs contradicts' in refused(capsys, '--resume', '--sampler', 'msc_vbs', '--out', out)
    cvnets_train(['--resume', '--sampler', 'ssc_fbs', '--out', str(out)])
    assert names(out) == made

# Bad ends

@pytest.mark.parametrize('out', ['/dev/null/run', '/proc/run', 'a'*300, 'a/'*2500])
def test_an_impossible_folder_is_one_line(out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for more in ([], ['--resume']):
        said = refused(capsys, *quick, *more, '--out', out)
        assert ('holds no run' if more else 'cannot be written to (') in said and 'Errno' not in said
    assert not list(tmp_path.iterdir())

def test_a_disk_that_fails_leaves_what_was_there(part, monkeypatch, capsys):
    "Full, read-only or broken, while a checkpoint is written"
    before = contents(part)
    for no in (errno.ENOSPC, errno.EROFS, errno.EIO):
        def fails(o, f):
            f.write(b'half')
            raise OSError(no, os.strerror(no))
        with monkeypatch.context() as m:
            m.setattr('cvnets_nb.callback.checkpoint.torch.save', fails)
            said = refused(capsys, '--resume', '--out', part, code=1)
        assert os.strerror(no) in said and 'MiB free, make room, then continue with cvnets_train --resume' in said
        assert contents(part) == before
    cvnets_train(['--resume', '--out', str(part)])

def test_a_run_json_that_was_changed_is_named(part, data, capsys):
    file = part/'run.json'
    run = json.loads(file.read_text())
    for change, says in ((dict(epochs='many'), "--epochs is 'many' in it"), (dict(lr=-1), '--lr is -1 in it'), (dict(data=5), '--data is 5 in it'),
                         (dict(size=[1,2,3]), '--size is'), (dict(set=.8), '--set is 0.8 in it')):
        file.write_text(json.dumps({**run, 'args':{**run['args'], **change}}))
        assert f'run.json is damaged: {says}' in refused(capsys, '--resume', '--out', part)
    for change, says in ((dict(data=5), 'run.json is damaged: data is 5'), (dict(made_from=5), 'is not of a run of cvnets_train'),
                         (dict(valid_loss=1.), 'lacks the results of its run'), (dict(valid_loss=1., score='half'), 'its cost.csv is gone')):
        file.write_text(json.dumps({**run, **change}))
        kept = shutil.copytree(part/'checkpoint', part.parent/'kept', dirs_exist_ok=True)      # a finished run has none
        assert says in refused(capsys, '--resume', '--out', part)
        shutil.copytree(kept, part/'checkpoint', dirs_exist_ok=True)
    file.write_text(json.dumps(run))
    (part/'model.pkl').mkdir()
    assert 'model.pkl is a folder' in refused(capsys, '--resume', '--out', part)
    (part/'model.pkl').rmdir()
    for record in ([1], dict(files={'a':1}, contents={})):
        (part/'checkpoint'/'files.json.gz').write_bytes(gzip.compress(json.dumps(record).encode()))
        os.utime(next(data.rglob('*.png')))
        assert 'the record that names them is gone' in refused(capsys, '--resume', '--out', part)

def _unread(argv, after, says):
    "In a process of its own: who reads the output goes away after so many lines"
    r, w = os.pipe()
    sys.stdout, sys.stderr = open(w, 'w'), io.StringIO()
    left = [after]
    def gone(self):
        if not left[0]: os.close(r)
        left[0] -= 1
    CheckpointCallback.before_epoch = gone
    try: cvnets_train(argv)
    finally:
        sys.stdout.flush()                     # would be Python's own message at the end
        says.send(sys.stderr.getvalue())

@pytest.mark.parametrize('after', [0, 1])
def test_output_that_nobody_reads_is_one_line(after, data, tmp_path):
    hears, says = multiprocessing.Pipe()
    argv = [*quick, '--data', str(data), '--out', str(tmp_path/'run')]
    p = multiprocessing.get_context('fork').Process(target=_unread, args=(argv, after, says))
    p.start()
    assert hears.poll(120)
    said = hears.recv().strip()
    p.join(60)
    assert p.exitcode == 1 and '\n' not in said and 'what read the output has ended (broken pipe)' in said, said
    assert ('start the run again' if not after else '--resume --out') in said
    assert not (tmp_path/'run').exists() if not after else names(tmp_path/'run') == {'run.json', 'checkpoint'}

@pytest.mark.parametrize('where', ['_quietly', 'read_run', 'file_record'])
def test_ctrl_c_before_the_training_is_one_line(where, data, tmp_path, monkeypatch, capsys):
    "While fastai is imported, while the folder is opened, while the files are looked at"
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr(f'cvnets_nb.cli.{where}', stop)
    assert refused(capsys, *quick, '--data', data, '--out', tmp_path/'run', code=130) == 'cvnets_train: interrupted'
    assert not (tmp_path/'run').exists()
