"""The demo: a budget that can be met, a line per phase, and a page that a browser shows."""

import html
import importlib
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
demo = importlib.import_module('demo')
demo_front = importlib.import_module('demo_front')
demo_page = importlib.import_module('demo_page')
demo_progress = importlib.import_module('demo_progress')


@pytest.mark.parametrize('lowest', [0.2, 0.5, 0.69, 0.7, 0.8111, 0.94, 0.951, 1.0, 1.3])
def test_the_budget_can_be_met_on_every_machine(lowest):
    budget = demo.reachable_budget(lowest)
    if budget['unit'] == 'latency':
        assert lowest + 0.01 < budget['max'] < 1
        assert budget['max'] >= 0.7
    else:
        assert lowest > 0.9
        assert budget == dict(unit='macs', max=0.7)


@pytest.mark.parametrize(
    ('measured', 'lowest', 'expected'),
    [
        (True, 0.4, dict(unit='latency', max=0.7)),
        (True, 0.9, dict(unit='latency', max=0.925)),
        (True, 0.99, dict(unit='macs', max=0.7)),
        (False, None, dict(unit='macs', max=0.7)),  # a table was refused for its noise
    ],
)
def test_no_noise_ends_the_demo(monkeypatch, tmp_path, measured, lowest, expected):
    """The search uses the table by which the budget was chosen, and measures nothing again."""
    cfg = Config(
        dict(custom_hooks=[dict(type='SparsitySearchHook', batch=2, latency_seconds=1, at=3)])
    )
    calls = []

    def run_tool(tool, *arguments, log, may_fail=False):
        assert may_fail
        calls.append(arguments)
        if measured:
            arguments[arguments.index('--out') + 1].write_text('a table')
        return measured

    monkeypatch.setattr(demo, 'run_tool', run_tool)
    monkeypatch.setattr(demo, 'lowest_latency', lambda *_: lowest)
    for _ in range(2):  # a continued demo keeps its budget
        found = demo.choose_budget(cfg, tmp_path, [])
        assert {key: found[f'budget.{key}'] for key in expected} == expected
        table = found.get('latency_table')
        assert (table is not None) == (expected['unit'] == 'latency')
        assert table is None or (demo.ROOT / table).resolve() == tmp_path / 'latency_table.json'
    assert len(calls) == 1


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        (
            '11/29 10:00:00 - mmengine - INFO - Epoch(train)  [2][ 50/500]  lr: 1e-3  eta: 0:05:00',
            ('training, epoch 2', 50, 500),
        ),
        ('mmengine - INFO - Epoch(val) [1][ 5/25]  eta: 0:00:10', ('validation 1', 5, 25)),
        ('mmengine - INFO - Epoch(test) [ 5/25]  eta: 0:00:10', ('testing', 5, 25)),
        ('Searching ratios:  34%|###  | 21/62 [00:30<01:00]', ('searching ratios', 21, 62)),
        ('Measuring latencies:  10%|#  | 4/40 [00:03<00:30]', ('measuring latencies', 4, 40)),
        ('Measuring:  10%|#  | 4/40 [00:03<00:30]', ('measuring latencies', 4, 40)),
        ('mmengine - INFO - coco/bbox_mAP: 0.5', None),
    ],
)
def test_progress_is_read_from_the_log(line, expected):
    assert demo_progress.read_progress(line) == expected


def test_each_phase_prints_its_remaining_time():
    out = io.StringIO()
    reporter = demo_progress.PhaseReporter(out)
    for second in range(0, 200, 10):
        reporter.note('training, epoch 1', 50 + second, 450, float(second))
    reporter.note('searching ratios', 61, 62, 200.0)
    for second in (201.0, 260.0):
        reporter.note('searching ratios', 62, 62, second)
    lines = out.getvalue().splitlines()
    assert lines[0] == '  training, epoch 1:  11%'
    assert lines[1] == '  training, epoch 1:  16%, 6 min left'
    assert len(lines) == 10 + 2  # one line every 20 seconds
    assert lines[-1] == '  searching ratios: 100%'


def test_a_tool_that_fails_ends_the_demo_with_its_last_lines(tmp_path, capsys):
    log = tmp_path / 'log'
    assert not demo_progress.run_tool('train.py', 'no_config.py', log=log, may_fail=True)
    with pytest.raises(SystemExit, match=r'train\.py failed'):
        demo_progress.run_tool('train.py', 'no_config.py', log=log)
    assert 'no_config.py' in capsys.readouterr().err
    assert log.read_text().count('error: ') == 2


def page(front=''):
    """A page with pictures of every kind; ``front`` is drawn beside a picture."""
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    computed = np.zeros((8, 8), dtype=bool)
    computed[2:5, 2:5] = True
    darkened = demo_page.draw_windows(image, computed)
    assert darkened[20, 20, 0] == 200 and darkened[0, 0, 0] == 50
    picture = demo_page.figure(demo_page.encode(darkened), 'stage 1, layer 1: 14%')
    curves = {'loss': [(1, 2.0), (50, 1.0)], 'coco/bbox_mAP': [(1, 0.1), (2, 0.5)]}
    plot = demo_page.figure(demo_page.encode_png(demo_page.plot_curves(curves)), 'loss')
    return demo_page.render(
        'A <title>', ['a < b', 'second'], picture * 2, picture, plot + front, plot
    )


def test_the_page_needs_nothing_from_elsewhere():
    text = page()
    assert text.count('<img') == 5
    assert text.count('src="data:image/') == 5
    assert 'http' not in text and '<script' not in text
    assert 'A &lt;title&gt;' in text and 'a &lt; b\nsecond' in text


HISTORY = """number,role,on_front,pruning_ratios,metric,score,num_images,gmacs,macs,ms,latency
1,dense,False,"[[0.0], [0.0]]",coco/bbox_mAP,0.5,20,2.0,1.0,30.0,1.0
2,candidate,True,"[[0.5], [0.2, 0.4]]",coco/bbox_mAP,0.48,20,1.0,0.5,18.0,0.6
3,candidate,False,"[[0.8], [0.8]]",coco/bbox_mAP,,20,0.4,0.2,9.0,0.3
"""


def test_every_point_of_the_front_has_a_tooltip(tmp_path):
    (tmp_path / 'history.csv').write_text(HISTORY)
    rows = demo_front.read_history(tmp_path / 'history.csv')
    drawn = demo_front.draw_front(rows)
    titles = re.findall(r'<title>(.*?)</title>', drawn, re.S)
    assert len(titles) == 2  # what has no score is not drawn
    for said in ('0.4800 on 20', '0.5 0.2/0.4', '0.50 of the dense MACs', '0.60 of the dense lat'):
        assert said in titles[1]
    centres = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert 0 < centres[1] < centres[0] < demo_front.WIDTH
    assert '<script' not in drawn and 'http' not in drawn
    assert demo_front.draw_front([]) == ''
    for row in rows:
        row['latency'] = ''
    assert 'share of the dense MACs' in demo_front.draw_front(rows)


# What the browser finds goes into the title of the page that it gives back. The text that a browser
# shows under the pointer is the title of the element that lies there.
LOOK = """<script>onload = () => {
    const drawn = image => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.some((value, i) => value !== pixels[i % 4]);
    };
    const images = [...document.images].filter(image => image.complete && image.width > 0);
    const told = [...document.querySelectorAll('#front circle')].map(point => {
        point.scrollIntoView();
        const box = point.getBoundingClientRect();
        const under = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        point.focus();
        const marked = getComputedStyle(point).strokeWidth === '2px';
        return under === point && marked ? point.querySelector('title').textContent : 'nothing';
    });
    document.title = JSON.stringify({
        pictures: images.filter(drawn).length,
        curves: [...document.querySelectorAll('#curves img')].filter(drawn).length,
        wide: document.documentElement.scrollWidth > innerWidth,
        told: told,
    });
}</script>"""


def test_a_browser_shows_the_page(tmp_path):
    names = ('chromium', 'chromium-browser', 'google-chrome')
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip('needs chromium, chromium-browser or google-chrome')
    (tmp_path / 'history.csv').write_text(HISTORY)
    front = demo_front.draw_front(demo_front.read_history(tmp_path / 'history.csv'))
    file = tmp_path / 'index.html'
    file.write_text(page(front).replace('</body>', f'{LOOK}</body>'))
    result = subprocess.run(
        [browser, '--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000',
         f'--user-data-dir={tmp_path}/profile', '--dump-dom', file.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = re.search('<title>(.*?)</title>', result.stdout, re.S)
    assert title is not None, result.stderr[-2000:]
    found = json.loads(html.unescape(title[1]))
    assert (found['pictures'], found['curves'], found['wide']) == (5, 1, False)
    assert len(found['told']) == 2
    for said in ('0.4800 on 20 images', '0.5 0.2/0.4', '(1.00 G)', '(18.0 ms)'):
        assert said in found['told'][1]


def test_curves_are_read_from_all_runs(tmp_path):
    for run, lines in (
        ('1', '{"loss": 2.0, "step": 50}\n{"coco/bbox_mAP": 0.2, "step": 1}\n'),
        ('2', '{"loss": 1.0, "step": 100}\n{"loss": 1.9, "step": 50}\n'),
    ):
        (tmp_path / run / 'vis_data').mkdir(parents=True)
        (tmp_path / run / 'vis_data' / 'scalars.json').write_text(lines)
    assert demo_page.read_curves(tmp_path) == {
        'loss': [(50, 1.9), (100, 1.0)],
        'coco/bbox_mAP': [(1, 0.2)],
    }


@pytest.mark.slow
def test_the_whole_demo_at_a_small_size(run_tool, tmp_path):
    """The whole demo, up to the page."""
    search = {'evaluations': 3, 'population': 3, 'parents': 2, 'num_images': 2, 'finalists': 1}
    options = [f'custom_hooks.1.{name}={value}' for name, value in search.items()]
    options += [f'{split}_dataloader.dataset.num_images=4' for split in ('train', 'val', 'test')]
    options += ['custom_hooks.1.latency_seconds=0.5', 'default_hooks.logger.interval=1']
    options += ['custom_hooks.1.budget.unit=macs', 'train_cfg.val_interval=3']
    done = run_tool(
        *('demo.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options),
        env=dict(SHAPES_ROOT=str(tmp_path / 'scenes')),
    )
    for line in ('dense: ', 'winner: ', 'kept: ', 'latency: ', 'files: '):
        assert f'\n{line}' in done.stdout
    assert 'training, epoch 3: 100%' in done.stdout
    text = (tmp_path / 'run' / 'index.html').read_text()
    assert text.count('<img') == 2 * 4 + 8 + 2  # both detections of each scene, layers, curves
