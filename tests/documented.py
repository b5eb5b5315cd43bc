"""The commands in README and docs, and for each tool the tests that run it at small size."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

PAGES = (
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
    *sorted(ROOT.glob('docs/*.md')),
    *sorted(ROOT.glob('projects/*/README.md')),
)
# How a command within a sentence begins.
COMMAND = r'([A-Z_]+=\S+ )?(python3?|make|pip|bash|mim) '


class Command(NamedTuple):
    """A command line of a tool."""

    page: str
    tool: str
    arguments: tuple[str, ...]

    @property
    def options(self) -> set[str]:
        """The options that it names."""
        return {word for word in self.arguments if word.startswith('--')}


def lines() -> list[tuple[str, str]]:
    """All lines of the pages' shell blocks, and commands within their text, with the page.

    Continued lines are joined.
    """
    found = []
    for page in PAGES:
        text = page.read_text()
        bare = []
        for block in re.findall(r'```bash\n(.*?)```', text, re.S):
            for line in block.replace('\\\n', ' ').splitlines():
                bare.append(re.sub(r'(^|\s)#.*', '', line))
        prose = re.sub(r'```.*?```', '', text, flags=re.S)
        bare += [code for code in re.findall(r'`([^`]+)`', prose) if re.match(COMMAND, code)]
        name = page.relative_to(ROOT).as_posix()
        found += [(name, ' '.join(line.split())) for line in bare if line.strip()]
    return found


def split() -> tuple[list[Command], list[tuple[str, str]]]:
    """The pages' commands of tools, and all other lines."""
    commands, others = [], []
    for page, line in lines():
        words = shlex.split(line)
        scripts = (i for i, w in enumerate(words) if re.fullmatch(r'(tools|projects)/.+\.py', w))
        place = next(scripts, None)
        if place is None:
            others.append((page, line))
        else:
            commands.append(Command(page, words[place], tuple(words[place + 1 :])))
    return commands, others


def names_of_tests(file: Path) -> set[str]:
    """The test functions of a file."""
    return set(re.findall(r'^ *def (test_\w+)', file.read_text(), re.M))


HERE = 'test_documented_commands.py'
# For each tool the tests that run it, to the end, with the options that the pages name.
RUN_BY = {
    'tools/train.py': (
        'tools/test_command_lines.py::test_training_draws_the_data_trains_and_evaluates',
        'projects/bevdet/test_driving.py::test_trains_resumes_tests_and_is_searched',
        'hosts/test_recipe.py::test_the_readmes_recipe_runs_as_it_is_printed',
    ),
    'tools/test.py': (
        'tools/test_command_lines.py::test_testing_with_every_option',
        'deploy/test_tools.py::test_testing',
    ),
    'tools/search.py': (
        'projects/bevdet/test_driving.py::test_trains_resumes_tests_and_is_searched',
        'deploy/test_tools.py::test_a_search_and_a_table',
        f'{HERE}::test_a_table_and_a_search_with_it',
    ),
    'tools/make_sparse.py': ('tools/test_make_sparse.py::test_each_host',),
    'tools/check_data.py': (
        'projects/video_recognition/test_tools.py::test_data_are_checked_in_one_go',
    ),
    'tools/gpu_check.py': ('tools/test_gpu_check.py::test_a_dry_run_finds_everything_right',),
    'tools/analysis_tools/benchmark.py': (
        'tools/test_benchmark.py::test_a_table_a_file_and_a_picture',
        'deploy/test_tools.py::test_a_benchmark_of_engines',
        'tools/benchmarks/test_whole.py::test_the_command_line',
    ),
    'tools/analysis_tools/compare_models.py': (
        'tools/test_compare_models.py::test_a_run_and_its_report',
    ),
    'tools/analysis_tools/engine_error.py': ('deploy/test_tools.py::test_errors_on_pictures',),
    'tools/analysis_tools/focus_share.py': ('tools/test_focus_share.py::test_the_tool',),
    'tools/analysis_tools/get_flops.py': ('tools/test_get_flops.py::test_the_papers_figures',),
    'tools/analysis_tools/latency_table.py': (f'{HERE}::test_a_table_and_a_search_with_it',),
    'tools/analysis_tools/model_zoo.py': (f'{HERE}::test_the_page_of_all_configs',),
    'tools/analysis_tools/sensitivity.py': (
        'tools/test_sensitivity.py::test_each_stage_is_pruned_alone',
    ),
    'tools/analysis_tools/visualize_rois.py': (
        'tools/test_visualize_rois.py::test_rois_are_drawn_over_the_image',
        'projects/video_recognition/test_tools.py::test_tokens_are_drawn_over_time',
    ),
    'tools/analysis_tools/visualize_sparsity.py': (
        'tools/test_visualize_sparsity.py::test_the_dense_model_at_half_size_is_drawn_beside_it',
        'tools/test_visualize_sparsity_of_clips.py::test_some_frames_beside_the_dense_model',
    ),
    'tools/analysis_tools/window_usage.py': (
        'tools/test_window_usage.py::test_dense_skips_nothing_but_reaches_over_padding',
        f'{HERE}::test_the_windows_of_a_checkpoint',
    ),
    'tools/benchmarks/compare_searches.py': (
        'tools/benchmarks/test_compare_searches.py::test_every_search_and_every_winner_once',
    ),
    'tools/benchmarks/replay_searches.py': (
        'tools/benchmarks/test_replay_searches.py::test_prints_a_table',
    ),
    'tools/benchmarks/proxies.py': (
        'tools/benchmarks/test_proxies.py::test_scores_each_setting_once',
    ),
    'tools/benchmarks/simulate_racing.py': (f'{HERE}::test_racing_is_simulated',),
    'tools/benchmarks/scaling.py': (
        'tools/benchmarks/test_scaling.py::test_searches_are_timed_on_one_and_two_processes',
    ),
    'tools/benchmarks/latency_under_load.py': (
        'tools/benchmarks/test_latency_under_load.py'
        '::test_the_command_compares_quiet_and_busy_tables',
    ),
    'tools/benchmarks/small_objects.py': (
        'tools/benchmarks/test_small_objects.py::test_everything_once_and_a_table',
    ),
    'projects/bootstrapping/trial.py': (
        'projects/bootstrapping/test_trial.py'
        '::test_the_student_alone_gets_at_least_the_others_time',
    ),
    'tools/benchmarks/mmcv_ops.py': (f'{HERE}::test_operators_are_compared',),
    'tools/deployment/export.py': (
        'tools/test_export.py::test_onnx_of_a_dense_backbone',
        'projects/video_recognition/test_exported.py::test_the_score_of_a_video_is_that_of_the_test',
    ),
    'tools/deployment/run_exported.py': (
        'tools/test_run_exported.py::test_a_detector',
        'projects/video_recognition/test_exported.py::test_the_score_of_a_video_is_that_of_the_test',
    ),
    'tools/model_converters/publish.py': (
        'tools/test_publish.py::test_a_training_becomes_one_small_file',
    ),
    'tools/model_converters/sparseformer.py': (
        'tools/test_convert_sparseformer.py::test_the_training_codes_checkpoint',
    ),
}
# Other lines of the shell, and the file that runs them or has what they name.
OTHERS = {
    r'make [\w-]+( (MMCV=compiled|STACK=onedl|PYTHON=python3\.11|PYTEST_ARGS=".*"))?': 'Makefile',
    r'\.ci/run': '.github/workflows/ci.yml',
    r'pip install( --no-build-isolation -c \S+)? -r requirements/(build|runtime)\.txt': (
        'tools/setup_env.py'
    ),
    r'pip install -r requirements/(deployment|video)\.txt': 'requirements/tests.txt',
    r'pip install --no-deps --no-build-isolation -e \.': 'tools/setup_env.py',
    r'pip show -q mmcv \|\| pip install -r requirements/mmcv-lite\.txt': 'tools/setup_env.py',
    r'pip install( -e)? "(sparse_mm|\.)\[(deploy|det)\]"': 'setup.cfg',
    r'pip uninstall sparse_mm': 'setup.cfg',
    r'pip install pre-commit': '.pre-commit-config.yaml',
    r'pip install -r requirements/gpu\.txt --no-deps': 'requirements/gpu.txt',
    r'pip install --target': 'docs/tools.md',
    r'pip install cityscapesscripts && CITYSCAPES_DATASET=FOLDER csCreateTrainIdLabelImgs': (
        'sparse_mm/engine/hosts/datasets.py'
    ),
    r'mim (train|test|search|download) sparse_mm( .*)?': 'tests/test_wheel.py',
    r'python -m tools\.benchmarks\.traffic': 'tests/cuda/test_traffic.py',
    r'CFLAGS=-g0 pip install .* --target compiled -r requirements/mmcv\.txt': '.ci/run',
    r'PYTHONPATH=compiled python -m pytest tests/mmcv_ops': '.ci/run',
    r'bash tools/gpu_wheels\.sh( FOLDER 3\.11)?': 'tools/gpu_wheels.sh',
    r'python3 -m pip install .* work_dirs/gpu_wheels/\*\.whl': 'docs/gpu.md',
    r'export (COCO|IMAGENET|NUSCENES|KINETICS)_ROOT=/my/\w+': 'sparse_mm/engine/hosts/datasets.py',
    r'export PYTHONPATH=work_dirs/gpu_site PYTHONUNBUFFERED=1': 'docs/gpu.md',
    r'configs=projects/bootstrapping/configs': 'projects/bootstrapping/trial.py',
    r'for model in video image; do|done': 'docs/results.md',
}
