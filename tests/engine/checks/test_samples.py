"""What a loaded data set lists must be there."""

import pytest
import torch

from sparse_mm.engine.checks import check_samples
from sparse_mm.engine.hooks import CheckDataHook
from sparse_mm.errors import BadInputError


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def test_missing_pictures_are_found_by_a_sample(tmp_path):
    paths = [str(tmp_path / f'{i}.jpg') for i in range(2500)]
    (problem,) = check_samples(Pictures(paths), 'train', 100)
    assert '100 of 100 files' in problem
    assert f'the first is {paths[0]!r}' in problem
    for path in paths[::25]:
        (tmp_path / path).write_text('')
    assert check_samples(Pictures(paths), 'train', 100) == []


def test_an_empty_data_set_is_a_problem():
    (problem,) = check_samples(Pictures([]), 'val', 100)
    assert 'The val set has no image with annotations' in problem


def test_the_hook_tells_of_both_sets_at_once():
    class Runner:
        val_loop = True
        train_dataloader = torch.utils.data.DataLoader(Pictures(['nowhere.jpg']))
        val_dataloader = torch.utils.data.DataLoader(Pictures([]))

    with pytest.raises(BadInputError) as error:
        CheckDataHook().before_train(Runner)
    assert 'The train set is incomplete' in str(error.value)
    assert 'The val set has no image' in str(error.value)
