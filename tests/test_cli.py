"`cvnets_train` from the command line to the folder it writes: a run, a folder of images, an interruption, wrong use"
import io, json, multiprocessing, os, signal, subprocess, sys, tempfile
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from fastai.vision.all import get_image_files, load_learner
from safetensors.torch import load_file
from cvnets_nb.callback import CheckpointCallback
from cvnets_nb.cli import cvnets_train
from cvnets_nb.data import folder_dls
from cvnets_nb.samplers import VideoSSc
from cvnets_nb.tasks.video.data import write_moving
from cvnets_nb.tasks.video.read import get_clip_files

quick = '--arch mobilenetv1_025 --size 32 --bs 64 --lr 1e-2'.split()
def learns(path): return [*quick[:-3], '8', '--lr', '2e-2', '--workers', '0', '--data', str(path), '--epochs', '9', '--sampler', 'msc_vbs', '--set']
files = {'run.json', 'model.pkl', 'weights.safetensors', 'cost.csv', 'cost.png'}

def in_new_process(*argv, cwd):
    cmd = [sys.executable, '-c', 'from cvnets_nb.cli import cvnets_train; cvnets_train()', *map(str, argv)]
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parent.parent)}
    return subprocess.run(cmd, cwd=cwd, env=env, capture_output=True, text=True, encoding='utf-8')

def refused(capsys, *argv):
    "What the command says when it ends with status 2: one line"
    capsys.readouterr()
    with pytest.raises(SystemExit) as e: cvnets_train(list(map(str, argv)))
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.startswith('cvnets_train: error: ') and err.count('\n') == 1, err
    return err

@pytest.fixture(scope='module')
def whole(digit_files, tmp_path_factory):
    "An uninterrupted run, long enough for SET to leave images out"
    out = tmp_path_factory.mktemp('cli')/'whole'
    cvnets_train([*learns(digit_files), '--out', str(out)])
    return out

def test_a_run_leaves_a_folder_that_agrees(whole):
    assert {o.name for o in whole.iterdir()} == files
    run = json.loads((whole/'run.json').read_text(encoding='utf-8'))
    cost = pd.read_csv(whole/'cost.csv', index_col='quantity')
    assert run['args']['sampler'] == 'msc_vbs' and run['args']['set'] is True
    assert list(cost) == ['ours', 'single-scale', 'ratio']
    assert np.allclose(cost['ratio'], cost['ours']/cost['single-scale'], equal_nan=True)
    assert 0 < cost.loc['pixels','ratio'] < 1 and 0 < cost.loc['updates','ratio'] < 1
    seen = sum(h['active'] + h['rechecked'] for h in run['set_history'])
    assert cost.loc['samples','ours'] == seen < cost.loc['samples','single-scale'] == 9*run['data']['train']
    assert min(Image.open(whole/'cost.png').size) > 100

def test_the_exported_model_is_the_one_that_was_measured(whole):
    run, learn = json.loads((whole/'run.json').read_text(encoding='utf-8')), load_learner(whole/'model.pkl')
    assert learn.set.counts is None and not learn.set.history
    assert not any(isinstance(c, CheckpointCallback) for c in learn.cbs)
    weights = learn.model.state_dict()
    assert all((v.cpu() == weights[k].cpu()).all() for k,v in load_file(whole/'weights.safetensors').items())
    valid = folder_dls(run['args']['data'], size=32, seed=run['args']['seed'], num_workers=0).valid_ds.items
    preds,_ = learn.get_preds(dl=learn.dls.test_dl(valid))
    right = [learn.dls.vocab[int(p)] == f.parent.name for p,f in zip(preds.argmax(1), valid)]
    assert np.isclose(np.mean(right), run['accuracy'])

def test_a_finished_run_is_shown_again_not_overwritten(whole, capsys):
    before = {o: o.stat().st_mtime_ns for o in whole.iterdir()}
    assert '--out' in refused(capsys, *quick, '--out', whole)
    cvnets_train(['--resume', '--out', str(whole)])
    assert 'accuracy' in capsys.readouterr().out
    assert before == {o: o.stat().st_mtime_ns for o in whole.iterdir()}

def test_interrupted_and_resumed_is_the_same_as_uninterrupted(whole, digit_files, tmp_path, monkeypatch, capsys):
    "Told to end in the last epoch but one, when images are left out already, and resumed in a new process at the next step"
    def stop(self):
        super(CheckpointCallback, self).before_batch()
        if self.learn.epoch == 7 and self.learn.iter == 3 and self.learn.training: os.kill(os.getpid(), signal.SIGTERM)
    with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
        m.setattr(CheckpointCallback, 'before_batch', stop, raising=False)
        cvnets_train([*learns(digit_files), '--out', str(tmp_path/'part')])
    err = capsys.readouterr().err
    assert e.value.code == 143 and 'told to end by SIGTERM; continue with cvnets_train --resume --out' in err, err
    assert {o.name for o in (tmp_path/'part').iterdir()} == {'run.json', 'checkpoint'}
    assert {o.name for o in (tmp_path/'part'/'checkpoint').iterdir()} == {'last.pth', 'previous.pth', 'best.pth', 'files.json.gz'}
    sd = torch.load(tmp_path/'part'/'checkpoint'/'last.pth', weights_only=True)
    assert (sd['epoch'], sd['step']) == (7, 4)
    assert '--resume' in refused(capsys, *quick, '--out', tmp_path/'part')
    said = refused(capsys, '--resume', '--out', tmp_path/'part', '--epochs', 7)
    assert '--epochs 7 contradicts' in said and '--epochs 9' in said
    r = in_new_process('--resume', '--out', 'part', '--epochs', 9, cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert [s.split()[0] for s in r.stdout.splitlines()[1:4]] == ['epoch', '7', '8'], r.stdout
    a, b = (json.loads((o/'run.json').read_text(encoding='utf-8')) for o in (whole, tmp_path/'part'))
    assert a['set_history'][7]['active'] < a['data']['train'], 'SET left nothing out: this test tests nothing'
    for k in ('set_history', 'accuracy', 'valid_loss', 'args', 'data'): assert a[k] == b[k], k
    costs = [pd.read_csv(o/'cost.csv', index_col='quantity') for o in (whole, tmp_path/'part')]
    costs = [o.drop(['seconds','wait_seconds','peak_memory']) for o in costs]
    assert costs[0].equals(costs[1])
    ws = [load_file(o/'weights.safetensors') for o in (whole, tmp_path/'part')]
    assert all((ws[0][k] == ws[1][k]).all() for k in ws[0])

@pytest.mark.parametrize('presses', [1, 2])
def test_ctrl_c(presses, digit_files, tmp_path, monkeypatch, capfd):
    "The first one waits for the step's end and writes a checkpoint, the second one waits for nothing"
    was = signal.signal(signal.SIGINT, signal.default_int_handler)         # pytest-xdist ignores it
    def stop(self):
        super(CheckpointCallback, self).before_batch()
        if self.learn.epoch == 1 and self.learn.iter == 1 and self.learn.training:
            for _ in range(presses): os.kill(os.getpid(), signal.SIGINT)
    with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
        m.setattr(CheckpointCallback, 'before_batch', stop, raising=False)
        cvnets_train([*quick[:-3], '8', '--data', str(digit_files), '--workers', '0', '--epochs', '2', '--out', str(tmp_path/'run')])
    err = capfd.readouterr().err
    assert e.value.code == 130 and 'interrupted; continue with cvnets_train --resume --out' in err, err
    assert 'ending after this step, with a checkpoint; Ctrl-C again ends at once' in err
    sd = torch.load(tmp_path/'run'/'checkpoint'/'last.pth', weights_only=True)
    assert (sd['epoch'], sd['step']) == ((1, 2) if presses == 1 else (1, 0))
    assert signal.signal(signal.SIGINT, was) is signal.default_int_handler

def test_a_folder_of_images(digit_files, tmp_path):
    "Through a pipe: a line an epoch; and the model predicts a file"
    r = in_new_process('--data', digit_files, *quick, '--epochs', 2, '--sampler', 'msc_vbs+growing', '--no-set',
                       '--workers', 0, '--out', 'run', cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert '\r' not in r.stdout and '█' not in r.stdout and len(r.stdout.splitlines()) < 30, r.stdout
    assert {o.name for o in (tmp_path/'run').iterdir()} == files
    run = json.loads((tmp_path/'run'/'run.json').read_text(encoding='utf-8'))
    assert run['data']['classes'] == ['no 0', 'no 1', 'no 2'] and f"accuracy {run['accuracy']:.2%}" in r.stdout
    assert run['set_history'] == [] and run['args']['set'] is False
    learn = load_learner(tmp_path/'run'/'model.pkl')
    assert learn.predict(get_image_files(digit_files)[0])[0] in run['data']['classes']

def test_a_folder_of_videos(tmp_path, monkeypatch, capsys):
    "Recognised, trained with clips averaged in validation, and the model predicts a file; what cannot be trained on is one line"
    pytest.importorskip('av')
    data = write_moving(tmp_path/'videos', 24)
    argv = f'--data {data} --arch shift/mobilenetv1_025 --size 32 --bs 8 --frames 4 --clips 2 --no-flip --workers 0 --epochs 2'.split()
    cvnets_train([*argv, '--out', str(tmp_path/'run')])
    said = capsys.readouterr().out
    assert 'videos of 4 classes to train on' in said and 'videos held out' in said
    run = json.loads((tmp_path/'run'/'run.json').read_text(encoding='utf-8'))
    assert run['data']['train'] + run['data']['valid'] == 24 and {o.name for o in (tmp_path/'run').iterdir()} == files
    learn = load_learner(tmp_path/'run'/'model.pkl')
    file = get_clip_files(data)[0]
    assert learn.dls.train.sampler == VideoSSc(32, 8, 4) and learn.dls.test_dl([file]).one_batch()[0].shape == (1, 2, 3, 4, 32, 32)
    assert learn.predict(file)[0] in run['data']['classes']
    out = ('--out', tmp_path/'other')
    frames = write_moving(tmp_path/'frames', 16, as_frames=True)
    assert 'read by --task video' in refused(capsys, '--data', frames, '--arch', 'shift/mobilenetv1_025', *out)
    assert "'shift/resnet18' moves features" in refused(capsys, '--data', data, '--arch', 'resnet18', *out)
    assert '--cache keeps copies of images' in refused(capsys, '--data', data, '--cache', *out)
    with monkeypatch.context() as m:
        m.setitem(sys.modules, 'av', None)
        assert "pip install '.[video]'" in refused(capsys, '--data', data, *out)
    bad = get_clip_files(data)[3]
    Image.new('RGB', (8,8)).save(bad.with_suffix('.png'))
    assert 'images and videos are mixed' in refused(capsys, '--data', data, *out)
    bad.with_suffix('.png').unlink()
    bad.write_bytes(b'')
    assert f'{bad} (it is empty)' in refused(capsys, '--data', data, *out)

@pytest.mark.parametrize('argv,says', [
    ('--frames 0', '--frames'), ('--frames 4', '--frames does not apply to classification'), ('--size 0', "--size: '0' is no size"), ('--size big', "--size: 'big'"), ('--size 225 --sampler msc_vbs', '--size 225'),
    ('--bs 0', "--bs: '0' is not a whole"), ('--epochs 0', '--epochs'), ('--lr 0', '--lr'), ('--lr nan', '--lr'),
    ('--seed -1', '--seed'), ('--arch mobilenetv2_101', 'mobilenetv2_100'), ('--sampler vbs', 'msc_vbs'),
    ('--epoch 3', '--epochs'), ('photos', '--data photos'), ('--data nowhere', 'nowhere does not exist'),
    ('--recipe resnet_smiple', "unknown recipe 'resnet_smiple': did you mean resnet_simple"),
    ('--resume', 'holds no run')])
def test_wrong_use_is_one_line(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, *argv.split())
    assert not list(tmp_path.iterdir()), 'a refusal leaves nothing behind'

def test_folders_that_cannot_be_trained_on(digit_files, tmp_path, capsys):
    out, one = ('--out', tmp_path/'run'), tmp_path/'one'
    (tmp_path/'empty').mkdir(), (one/'a').mkdir(parents=True)
    assert 'no images in' in refused(capsys, '--data', tmp_path/'empty', *out)
    src = sorted(digit_files.rglob('*.jpg'))
    for f in src[:3]: (one/'a'/f.name).write_bytes(f.read_bytes())
    assert 'one class only' in refused(capsys, '--data', one, *out)
    (one/'b').mkdir()
    for f in src[:3]: (one/'b'/f.name).write_bytes(f.read_bytes())
    bad = one/'b'/src[1].name
    bad.write_bytes(bad.read_bytes()[:-200])
    assert str(bad) in refused(capsys, '--data', one, *out)
    assert 'is a file' in refused(capsys, '--data', bad, *out)
    assert 'is a file' in refused(capsys, '--out', bad)
    (tmp_path/'run').mkdir(), (tmp_path/'run'/'model.pkl').touch()
    assert 'not overwritten' in refused(capsys, *quick, *out)

def test_stopped_between_the_last_epoch_and_the_results(digit_files, tmp_path, monkeypatch, capsys):
    def stop(*args): raise KeyboardInterrupt
    with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
        m.setattr('cvnets_nb.cli.save_run', stop)
        cvnets_train([*quick, '--data', str(digit_files), '--workers', '0', '--epochs', '1',
                      '--out', str(tmp_path/'run')])
    assert e.value.code == 130 and {o.name for o in (tmp_path/'run').iterdir()} == {'run.json', 'checkpoint'}
    capsys.readouterr()
    cvnets_train(['--resume', '--out', str(tmp_path/'run')])
    assert {o.name for o in (tmp_path/'run').iterdir()} == files
    cost = pd.read_csv(tmp_path/'run'/'cost.csv', index_col='quantity')
    assert cost.loc['samples','ours'] == 99

@pytest.mark.parametrize('resume', [False, True])
def test_an_out_that_cannot_be_written_to_is_refused_before_the_data_are_read(digit_files, tmp_path, monkeypatch, capsys, resume):
    "On a disk that takes no file, also for the user who may do everything"
    argv = [*quick, '--data', digit_files, '--out', '/proc/run']
    monkeypatch.setattr('cvnets_nb.cli.run_data', lambda a: pytest.fail('the data were read'))
    assert '--out /proc/run cannot be written to' in refused(capsys, *argv)
    def denied(*a, **k): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(tempfile, 'TemporaryFile', denied)
    out = tmp_path/'a'/'run'
    if resume:
        out.mkdir(parents=True), (out/'run.json').write_text(json.dumps(dict(args={})))
        argv = ['--resume']
    else: argv = [*quick, '--data', digit_files]
    said = refused(capsys, *argv, '--out', out)
    assert 'cannot be written to (Permission denied)' in said and 'MiB free' in said
    assert resume or not (tmp_path/'a').exists()

def test_weights_to_start_from(digit_files, tmp_path, capsys):
    "From a file: all but the classifier's; a wrong file is one line; continued from any folder"
    from cvnets_nb.models import create_model, save_weights
    m = create_model('mobilenetv1_025', n_out=5)
    save_weights(m, tmp_path/'w.safetensors')
    argv = [*quick, '--data', str(digit_files), '--workers', '0', '--epochs', '1', '--lr', '1e-9', '--pretrained', str(tmp_path/'w.safetensors'), '--out', str(tmp_path/'run')]
    cvnets_train(argv)
    got = load_file(tmp_path/'run'/'weights.safetensors')
    same = [k for k, v in m.named_parameters() if got[k].shape == v.shape and np.allclose(got[k], v.detach(), atol=1e-5)]
    assert len(same) >= len(list(m.named_parameters())) - 2
    assert 'nowhere.safetensors' in refused(capsys, *quick, '--data', str(digit_files), '--pretrained', 'nowhere.safetensors', '--out', str(tmp_path/'b'))
    assert not (tmp_path/'b').exists()

def _with_full_disk(most, argv, folder, says):
    "In a process of its own: no file can be larger than `most` bytes"
    import resource
    os.chdir(folder)
    sys.stderr = io.StringIO()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try: cvnets_train(argv)
    finally: says.send(sys.stderr.getvalue())

@pytest.mark.parametrize('most', [200, 60_000, 1_100_000])
def test_a_full_disk_is_one_line(most, digit_files, tmp_path):
    "The first file, a checkpoint, and the last files cannot be written"
    argv = [*quick, '--data', str(digit_files), '--workers', '0', '--epochs', '1', '--out', 'run']
    hears, says = multiprocessing.Pipe()
    p = multiprocessing.get_context('fork').Process(target=_with_full_disk, args=(most, argv, tmp_path, says))
    p.start()
    assert hears.poll(120)
    said = hears.recv()
    p.join(60)
    assert p.exitcode == 1 and 'Traceback' not in said, said
    assert 'run cannot be written to' in said and 'MiB free, make room, then start the run again' in said and said.strip().count('\n') == 0

def test_an_image_that_goes_bad_while_it_trains_is_one_line(digit_files, tmp_path, monkeypatch, capsys):
    "Of the validation set, which is never changed silently, also with --skip; put back, the run goes on"
    import shutil
    data, held = tmp_path/'data', {}
    shutil.copytree(digit_files, data)
    def damage(self):
        if self.epoch == 1 and not held:
            f = self.dls.valid.items[0]
            held[f] = f.read_bytes()
            f.write_bytes(held[f][:200])
    argv = [*quick, '--data', data, '--workers', '0', '--epochs', '3', '--skip', '--out', tmp_path/'run']
    with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
        m.setattr(CheckpointCallback, 'before_epoch', damage, raising=False)
        cvnets_train(list(map(str, argv)))
    err = capsys.readouterr().err.strip()
    bad = next(iter(held))
    assert e.value.code == 1 and f'cannot read the image {bad}' in err and '--resume --out' in err and err.count('\n') == 0, err
    bad.write_bytes(held[bad])
    cvnets_train(['--resume', '--out', str(tmp_path/'run')])
    assert 'accuracy' in capsys.readouterr().out

def test_the_home_folder_and_empty_paths(digit_files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(digit_files.parent)), monkeypatch.setenv('USERPROFILE', str(digit_files.parent))
    out = os.path.relpath(tmp_path/'run', digit_files.parent)
    cvnets_train([*quick, f'--data=~/{digit_files.name}', '--workers', '0', '--epochs', '1', f'--out=~/{out}'])
    run = json.loads((tmp_path/'run'/'run.json').read_text(encoding='utf-8'))
    assert run['args']['data'] == str(digit_files.resolve())
    for o in ('--data', '--out'): assert f'{o}: it is empty' in refused(capsys, *quick, o, '')

def test_a_model_that_takes_multiples_of_its_patch(tmp_path, monkeypatch, capsys):
    from torch import nn
    import cvnets_nb.models as M
    class Patches(nn.Module):
        def __init__(self, n_out=10, in_chans=3):
            super().__init__()
            self.conv = nn.Conv2d(in_chans, 8, 1)
            self.fc = nn.Linear(8, n_out)
        def forward(self, x): return self.fc(self.conv(x).unflatten(2, (-1,16)).unflatten(4, (-1,16)).mean((2,3,4,5)))
    M.register_model('patches_of_16', Patches)
    monkeypatch.chdir(tmp_path)
    from cvnets_nb.models import registry
    try: cvnets_train('--arch patches_of_16 --size 96 --epochs 1 --sampler msc_fbs'.split())
    finally: del registry._models['patches_of_16']
    out, err = capsys.readouterr()
    assert 'MScFBS(96, 32, divisor=16)' in err and 'those sizes are used' in err and 'accuracy' in out

def with_table(root, heads, rows):
    "Twelve images and a table of what `rows(i)` says of each"
    root.mkdir()
    for i in range(12): Image.fromarray(np.random.default_rng(i).integers(0, 256, (40,48,3), dtype=np.uint8)).save(root/f'{i}.png')
    text = '\n'.join([','.join(['file',*heads]), *(','.join([f'{i}.png', *map(str, rows(i))]) for i in range(12))])
    (root/'labels.csv').write_text(text, encoding='utf-8-sig')
    return root

@pytest.mark.parametrize('kind', ['labels', 'spaces', 'value', 'values', 'split'])
def test_labels_and_values_from_a_table(kind, tmp_path, capsys):
    heads, rows = dict(labels=(['tags'], lambda i: ['even;by three'*(i % 6 == 0) or 'even'*(i % 2 == 0)]), spaces=(['tags'], lambda i: ['a b' if i % 2 else 'b']),
                       value=(['tilt'], lambda i: [i/12]), values=(['tilt','size'], lambda i: [i/12, -i]), split=(['tilt','is_valid'], lambda i: [i/12, int(i > 8)]))[kind]
    data = with_table(tmp_path/'d', heads, rows)
    (data/'3.png').write_bytes(b'no image')
    argv = [*quick[:-3], '4', '--workers', '0', '--epochs', '1', '--data', data, '--out', tmp_path/'run']
    assert '3.png' in refused(capsys, *argv) and not (tmp_path/'run').exists()
    cvnets_train(list(map(str, [*argv, '--skip'])))
    out = capsys.readouterr().out
    n, one = {'labels':(2, 'labels'), 'spaces':(2, 'labels'), 'value':(1, 'value'), 'values':(2, 'values'), 'split':(1, 'value')}[kind]
    counts = (8, 3) if kind == 'split' else (9, 2)
    assert f"{', '.join(h for h in heads if h != 'is_valid')} of labels.csv: {counts[0]} images of {n} {one} to train on, {counts[1]} to validate" in out
    run = json.loads((tmp_path/'run'/'run.json').read_text(encoding='utf-8'))
    assert ('accuracy_multi' if one == 'labels' else 'mae') in run
    learn = load_learner(tmp_path/'run'/'model.pkl')
    assert len(learn.predict(data/'1.png')[2]) == n
    cvnets_train(['--resume', '--out', str(tmp_path/'run')])

def test_tables_that_cannot_be_trained_on(tmp_path, capsys, digit_files):
    out = ('--out', tmp_path/'run')
    assert 'is classification: put the images in a folder for each class' in refused(capsys, *quick, '--data', with_table(tmp_path/'a', ['tag'], lambda i: ['ab'[i%2]]), *out)
    assert 'there is no labels.csv' in refused(capsys, *quick, '--data', digit_files, '--task', 'regression', *out)
    assert '--train does not apply to regression' in refused(capsys, *quick, '--data', with_table(tmp_path/'b', ['v'], lambda i: [i]), '--train', 'x', *out)
    from cvnets_nb.tasks.core import folder_task
    for c in 'xy':
        (tmp_path/'b'/c).mkdir()
        (tmp_path/'b'/c/'0.png').write_bytes((tmp_path/'b'/'0.png').read_bytes())
    assert folder_task(tmp_path/'b').name == 'classification', 'class folders come first, as they always did'
