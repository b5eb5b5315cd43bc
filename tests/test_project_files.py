"""Files for other programs: the model index, the workflow, pre-commit, issue forms, citation."""

import re

import pytest
import yaml

from sparse_mm.version import __version__
from tests.conftest import ROOT
from tools.benchmarks.tables.cityscapes import CITYSCAPES
from tools.benchmarks.tables.coco import COCO
from tools.benchmarks.tables.imagenet import IMAGENET, SCALING
from tools.benchmarks.tables.kinetics import KINETICS
from tools.benchmarks.tables.nuscenes import NUSCENES


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


FILES = read('model-index.yml')['Import']
MODELS = {model['Name']: model for name in FILES for model in read(name)['Models']}
PUBLIC = ('coco', 'cityscapes', 'nuscenes', 'imagenet', 'kinetics')


def metrics_of(model):
    return {
        name: value for one in model.get('Results', ()) for name, value in one['Metrics'].items()
    }


def test_every_name_is_used_once():
    assert len(MODELS) == sum(len(read(name)['Models']) for name in FILES)
    collections = [one['Name'] for name in FILES for one in read(name)['Collections']]
    assert len(set(collections)) == len(collections)
    assert {model['In Collection'] for model in MODELS.values()} == set(collections)


@pytest.mark.parametrize('name', FILES)
def test_what_collections_point_to_exists(name):
    for one in read(name)['Collections']:
        assert (ROOT / one['README']).is_file() and (ROOT / one['Code']['URL']).exists()
        assert one['Paper']['URL'].startswith('https://arxiv.org/abs/')


def test_configs_that_are_named_exist_and_each_published_one_is_named():
    named = [model['Config'] for model in MODELS.values()]
    assert len(set(named)) == len(named)
    for config in named:
        assert (ROOT / config).is_file(), config
    folders = 'configs', 'projects/bevdet/configs', 'projects/video_recognition/configs'
    for path in (path for folder in folders for path in (ROOT / folder).glob('*.py')):
        of_paper = 'bevdet_s' in path.stem or any(data in path.stem for data in PUBLIC)
        if of_paper and not path.stem.endswith('overfit'):
            assert str(path.relative_to(ROOT)) in named, path


def test_metrics_are_marked_as_the_papers():
    assert any(metrics_of(model) for model in MODELS.values())
    for name, model in MODELS.items():
        marked = model['Metadata'].get('Metrics From', '')
        assert bool(metrics_of(model)) == marked.startswith('the paper: '), name
        # There are none. `mim download` fails without the field; with an empty address it writes
        # the config, and downloads nothing.
        assert ','.join(model['Weights']) == '', name


def rows_by_config(table):
    return [(row.make().name, row.paper) for row in table.rows]


@pytest.mark.parametrize(
    ('table', 'keys'),
    [
        (COCO, {'box AP': 'box', 'mask AP': 'mask'}),
        (CITYSCAPES, {'mIoU': 'miou'}),
        (NUSCENES, {'mAP': 'map', 'NDS': 'nds'}),
    ],
    ids=['COCO', 'Cityscapes', 'nuScenes'],
)
def test_metrics_are_those_of_the_papers_tables(table, keys):
    by_config = {model['Config']: metrics_of(model) for model in MODELS.values()}
    rows = rows_by_config(table)
    for config, paper in rows:
        assert by_config[config] == {ours: paper[theirs] for ours, theirs in keys.items()}
    with_metrics = {c for c, metrics in by_config.items() if set(metrics) == set(keys)}
    assert {config for config, _ in rows} == with_metrics


def test_accuracies_are_those_of_the_papers_tables():
    paper = {row.name: row.paper['top1'] for table in (IMAGENET, SCALING, KINETICS)
             for row in table.rows}  # fmt: skip
    expected = {
        'sparseformer-tiny_in1k': 'SparseFormer-T',
        'sparseformer-small_in1k': 'SparseFormer-S',
        'sparseformer-base_in1k': 'SparseFormer-B',
        'sparseformer-base_in21k-pre_in1k-384px': 'B, 384², IN-21K',
        'sparseformer-base-n144_in21k-pre_in1k-384px': 'B, N=144, 384², IN-21K',
        'sparseformer-base-n196_in21k-pre_in1k-384px': 'B, N=196, 384², IN-21K',
        'video-sparseformer-tiny_kinetics400-rgb': 'VideoSparseFormer-T',
        'video-sparseformer-small_kinetics400-rgb': 'VideoSparseFormer-S',
        'video-sparseformer-base_kinetics400-rgb': 'VideoSparseFormer-B',
    }
    for name, row in expected.items():
        assert metrics_of(MODELS[name]) == {'Top 1 Accuracy': paper[row]}, name


def recipe(target):
    lines = re.search(rf'^{target}:.*\n((?:\t.*\n)+)', (ROOT / 'Makefile').read_text(), re.M)[1]
    return [line.strip().replace('$(VENV)', '.venv') for line in lines.splitlines()]


def test_pre_commit_runs_what_make_lint_runs():
    (local,) = read('.pre-commit-config.yaml')['repos']
    assert [hook['entry'] for hook in local['hooks']] == recipe('lint')


def test_the_workflow_runs_what_ci_runs_on_every_supported_python():
    workflow = read('.github/workflows/ci.yml')
    job = workflow['jobs']['ci']
    assert [step['run'] for step in job['steps'] if 'run' in step] == ['.ci/run']
    supported = re.findall(r'Python :: (3\.\d+)$', (ROOT / 'setup.cfg').read_text(), re.M)
    assert job['strategy']['matrix']['python'] == supported


def test_issue_forms_have_what_github_wants():
    for path in sorted((ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml')):
        form = read(path.relative_to(ROOT))
        if path.stem != 'config':
            assert form['name'] and form['description'] and len(form['body']) >= 2
            names = [field['id'] for field in form['body']]
            assert len(set(names)) == len(names)


def test_the_citation_names_the_version_and_the_papers():
    about = read('CITATION.cff')
    assert about['version'] == __version__
    urls = {paper['url'] for paper in about['references']}
    readme = (ROOT / 'README.md').read_text()
    assert set(re.findall(r'https://arxiv.org/abs/[\d.]+', readme)) <= urls
