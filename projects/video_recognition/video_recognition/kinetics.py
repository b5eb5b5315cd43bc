"""Kinetics-400, or other videos in folders or a table; counts missing and broken ones."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from projects.video_recognition.video_recognition.decoding import BrokenVideoError, Video
from sparse_mm.errors import BadInputError, nearest
from sparse_mm.named_weights import first_few

SUFFIXES = ('.mp4', '.mkv', '.webm', '.avi', '.mov', '.m4v', '.flv', '.mpg', '.mpeg', '.ts', '.3gp')


def read_labels(path: str, num_classes: int | None) -> list[str]:
    """Reads the names of the classes, one a line, in the order of their labels from 0.

    Args:
        path: The file.
        num_classes: How many there must be; None for any number.

    Raises:
        BadInputError: It is not there, names a class twice, or has another number of them.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f'The label file {path!r} cannot be read ({error}).') from error
    names = [line.strip() for line in lines if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(f'The label file {path!r} names {first_few(twice)} more than once.')
    _check_count(len(names), num_classes, f'The label file {path!r}')
    return names


def _check_count(found: int, wanted: int | None, where: str) -> None:
    if wanted is not None and found != wanted:
        raise BadInputError(
            f'{where} has {found} classes, but num_classes is {wanted}; give the right file, or '
            'set num_classes of the data set and of the head to its number.'
        )


def find_videos(folder: str) -> dict[str, str]:
    """Finds all videos below a folder, by their path in it without the suffix, and by their name.

    Args:
        folder: Read as it lies: no file is opened.
    """
    found: dict[str, str] = {}
    for path in list_videos(folder):
        found.setdefault(os.path.splitext(os.path.basename(path))[0], path)
        found[os.path.splitext(os.path.relpath(path, folder))[0]] = path
    return found


def list_videos(folder: str) -> Iterator[str]:
    """Yields the paths of all videos below a folder."""
    for root, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(root, name)


@DATASETS.register_module()
class KineticsDataset(BaseDataset):
    """Videos with one label each.

    With ``ann_file`` a table says which: Kinetics' own (with ``label``, ``youtube_id``,
    ``time_start``, ``time_end``; the files are called as its downloaders do,
    ``ID_000010_000020.mp4``, or ``ID.mp4``, with or without a folder for each class), or one
    without a header whose rows are ``path,label`` or ``path label``, by name or number from 0.
    Without it each class has a folder of its own.

    Videos that a table names and that are not there are left out and counted, as usual for
    Kinetics. In training, so are videos that cannot be decoded: another one is drawn, and each is
    named once. In testing they end the run, or, if asked, are in no score and counted there.

    Args:
        ann_file: The table; empty for folders. Defaults to ''.
        label_file: Names of the classes in the order of their labels, one a line, below
            ``data_root``; empty for the folders' or the table's names in alphabetical order.
            Defaults to ''.
        num_classes: How many classes there must be; None for any number. Defaults to None.
        on_broken: What testing does with a video that cannot be decoded: ``'raise'`` or ``'skip'``.
            Defaults to 'raise'.
        data_prefix: ``dict(video=FOLDER)``, where the videos lie. Defaults to ``data_root``.
        **kwargs: As for ``BaseDataset``.

    Raises:
        BadInputError: The classes do not fit, or there is no video.
    """

    def __init__(
        self,
        ann_file: str = '',
        label_file: str = '',
        num_classes: int | None = None,
        on_broken: str = 'raise',
        data_prefix: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if on_broken not in ('raise', 'skip'):
            raise BadInputError(f"on_broken must be 'raise' or 'skip', not {on_broken!r}.")
        self.num_classes, self.on_broken = num_classes, on_broken
        root = kwargs.get('data_root') or ''
        self.label_file = os.path.join(root, label_file) if label_file else ''
        self.missing: list[str] = []
        super().__init__(ann_file=ann_file, data_prefix=data_prefix or dict(video=''), **kwargs)

    def full_init(self) -> None:
        """Reads the table or the folders."""
        if self._fully_initialized:
            return
        super().full_init()
        # One flag a video, in memory that a loader's workers share.
        self._named = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def load_data_list(self) -> list[dict]:
        """Lists the videos that are there, with their labels."""
        folder = self.data_prefix.get('video') or self.data_root or '.'
        if not os.path.isdir(folder):
            raise BadInputError(f'The folder of videos {folder!r} is not there; set data_root.')
        rows = [*(self._rows_of_table(folder) if self.ann_file else self._rows_of_folders(folder))]
        names = self._names(rows, folder)
        self._metainfo['classes'] = tuple(names)
        labels = {name: label for label, name in enumerate(names)}
        labels.update({name.replace(' ', '_'): label for name, label in labels.items()})
        data = [
            dict(video_path=path, gt_label=self._label(name, labels))
            for path, name in rows
            if path is not None
        ]
        self.missing = [str(name) for path, name in rows if path is None]
        if not data:
            raise BadInputError(
                f'None of the {len(rows)} videos that {self.ann_file!r} names lies in {folder!r}.'
                if self.ann_file
                else f'There is no video in the folders of {folder!r}.'
            )
        MMLogger.get_current_instance().info(self.describe(len(data)))
        return data

    def describe(self, found: int | None = None) -> str:
        """Says how many videos there are and how many are missing."""
        count = len(self) if found is None else found
        classes = len(self.metainfo['classes'])
        source = self.ann_file or self.data_prefix.get('video') or self.data_root
        return f'{source}: {count} videos found, {len(self.missing)} missing, {classes} classes.'

    def check_classes(self, num_classes: int) -> list[str]:
        """Says where a model tells apart another number of classes than there are.

        Args:
            num_classes: Of the model; 0 if it does not say.
        """
        own = len(self.metainfo['classes'])
        if num_classes in (0, own):
            return []
        source = self.ann_file or self.data_prefix.get('video') or self.data_root
        return [
            f'{source!r} has {own} classes, and the model has {num_classes}; set '
            f'num_classes of its head and of its data_preprocessor to {own}.'
        ]

    def survey(self, num_videos: int = 20) -> list[str]:
        """Opens some videos, spread over the set, and says which are broken.

        Args:
            num_videos: How many to open; their frames are counted, not decoded.
        """
        problems = []
        for i in np.unique(np.linspace(0, len(self) - 1, num_videos).round().astype(int)):
            try:
                Video(self.get_data_info(int(i))['video_path'])
            except BrokenVideoError as error:
                problems.append(str(error))
        return problems

    def prepare_data(self, idx: int) -> Any:
        """Reads a video; see the class for what happens to broken ones."""
        try:
            return super().prepare_data(idx)
        except BrokenVideoError as error:
            if self.test_mode and self.on_broken == 'raise':
                raise BrokenVideoError(
                    f"{error} To test without such videos, set on_broken='skip' of the data set."
                ) from error
            if not self._named[idx]:
                self._named[idx] = 1
                count = int(self._named.sum())
                MMLogger.get_current_instance().warning(f'Skipped ({count} so far): {error}')
            if not self.test_mode:
                return None  # BaseDataset draws another one
            return self._in_place_of(idx)

    def _in_place_of(self, idx: int) -> Any:
        """Another video in the shape of a broken one, marked so that no score counts it."""
        for step in range(1, len(self)):
            info = self.get_data_info((idx + step) % len(self))
            info['broken'] = self.get_data_info(idx)['video_path']
            try:
                return self.pipeline(info)
            except BrokenVideoError:
                continue
        raise BadInputError(f'All {len(self)} videos are broken.')

    # ---- Tables and folders

    def _rows_of_folders(self, folder: str) -> Iterator[tuple[str | None, str]]:
        for entry in sorted(Path(folder).iterdir()):
            if entry.is_dir():
                for path in sorted(list_videos(str(entry))):
                    yield path, entry.name

    def _rows_of_table(self, folder: str) -> Iterator[tuple[str | None, str]]:
        try:
            with open(self.ann_file, encoding='utf-8', newline='') as file:
                rows = [row for row in csv.reader(file) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadInputError(f'The table {self.ann_file!r} cannot be read ({error}).') from error
        if not rows:
            raise BadInputError(f'The table {self.ann_file!r} is empty.')
        videos = find_videos(folder)
        header = [name.strip().lower() for name in rows[0]]
        if 'youtube_id' in header:
            if 'label' not in header:
                raise BadInputError(
                    f'The table {self.ann_file!r} has no column "label"; that of a test set '
                    'without labels cannot be used.'
                )
            for row in rows[1:]:
                yield _kinetics_row(dict(zip(header, row, strict=False)), videos)
            return
        for number, row in enumerate(rows, start=1):
            path, _, label = row[0].rpartition(' ') if len(row) == 1 else (row[0], '', row[1])
            path, label = path.strip(), label.strip()
            if not path or not label:
                raise BadInputError(
                    f'Row {number} of {self.ann_file!r} names no file or no label: '
                    f'{",".join(row)!r}; rows are "path,label" or "path label".'
                )
            full = os.path.join(folder, path)
            known = videos.get(os.path.splitext(path)[0])
            yield (full if os.path.isfile(full) else known), label

    def _names(self, rows: list[tuple[str | None, str]], folder: str) -> list[str]:
        """The classes in the order of their labels."""
        if self.label_file:
            return read_labels(self.label_file, self.num_classes)
        labels = {name for _, name in rows}
        if labels and all(label.isdigit() for label in labels):
            if self.num_classes is None:
                raise BadInputError(
                    f'{self.ann_file!r} has numbers for labels; set num_classes or label_file.'
                )
            return [str(label) for label in range(self.num_classes)]
        _check_count(len(labels), self.num_classes, repr(self.ann_file or folder))
        return sorted(labels)

    def _label(self, name: str, labels: dict[str, int]) -> int:
        if name in labels:
            return labels[name]
        if name.isdigit():
            if int(name) < len(set(labels.values())):
                return int(name)
            raise BadInputError(
                f'{self.ann_file!r} has the label {name}, but labels go from 0 to '
                f'{len(set(labels.values())) - 1}; count them from 0.'
            )
        raise BadInputError(
            f'The class {name!r} is not in the label file {self.label_file!r}'
            f'{nearest(name, labels) or "."}'
        )


def _kinetics_row(row: dict[str, str], videos: dict[str, str]) -> tuple[str | None, str]:
    label, name = row['label'].strip(), row['youtube_id'].strip()
    names = [name]
    try:
        start, end = int(float(row['time_start'])), int(float(row['time_end']))
        names.insert(0, f'{name}_{start:06d}_{end:06d}')
    except (KeyError, ValueError):
        pass
    for folder in ('', f'{label}/', f'{label.replace(" ", "_")}/'):
        for one in names:
            if folder + one in videos:
                return videos[folder + one], label
    return None, label
