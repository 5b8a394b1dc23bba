"""A folder → which photographs of a benchmark are in it, missing, corrupt or placeholders."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2loc.bench.datasets.benchmark import Truth
from img2loc.core.errors import UnreadablePhoto
from img2loc.core.types import Photo
from img2loc.data.folder import photo_files
from img2loc.data.photo_names import key

SAME = 3
"""So many benchmark photographs of the same bytes are a placeholder ("no longer available")."""
BLANK = 0.8
"""A picture of which this share is one colour is a placeholder, or as good as one."""


class PhotoFolder:
    """The photographs below a folder, by any of the names that the field's archives give them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = photo_files(folder) if folder.is_dir() else []
        self._exact = {file.relative_to(folder).as_posix(): file for file in self.files}
        self._named: dict[str, Path] = {}
        for file in reversed(self.files):
            self._named[file.name] = file
            self._named[key(file.relative_to(folder).as_posix())] = file

    def find(self, truth: Truth) -> Path | None:
        """The file of a benchmark's photograph; None where it is missing."""
        given = Path(truth.photo)
        file = (
            self._exact.get(truth.photo)
            or self._named.get(given.name)
            or self._named.get(key(truth.photo))
        )
        beside = self.folder / given  # A hidden image, or one with an unusual suffix.
        return file or (beside if beside.is_file() else None)

    def path(self, truth: Truth) -> Path:
        """Its file, or where it should be."""
        return self.find(truth) or self.folder / truth.photo


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong with a folder: ids of photographs, and files that belong to none."""

    present: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    corrupt: tuple[tuple[str, str], ...]
    placeholders: tuple[tuple[str, str], ...]

    @property
    def clean(self) -> bool:
        """Whether every photograph is there and sound."""
        return not (self.missing or self.corrupt or self.placeholders)


def verify(
    truths: Sequence[Truth],
    photo_folder: PhotoFolder,
    progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Look at every photograph of a benchmark."""
    missing: list[str] = []
    corrupt: list[tuple[str, str]] = []
    blank: dict[str, str] = {}
    alike: dict[str, list[str]] = defaultdict(list)
    belonging: set[Path] = set()
    for done, truth in enumerate(truths, 1):
        if (file := photo_folder.find(truth)) is None:
            missing.append(truth.id)
        else:
            belonging.add(file)
            try:
                alike[Photo(file).digest()].append(truth.id)
                if (share := _one_colour(Photo(file))) >= BLANK:
                    blank[truth.id] = f"{share:.0%} of it is one colour"
            except UnreadablePhoto as error:
                corrupt.append((truth.id, str(error)))
        progress(done)
    for ids in alike.values():
        if len(ids) >= SAME:
            blank.update(dict.fromkeys(ids, f"the same bytes as {len(ids) - 1} others"))
    for photo_id, _ in corrupt:
        blank.pop(photo_id, None)
    placeholders = tuple((row.id, blank[row.id]) for row in truths if row.id in blank)
    extra = tuple(
        file.relative_to(photo_folder.folder).as_posix()
        for file in photo_folder.files
        if file not in belonging
    )
    return Report(len(truths) - len(missing), tuple(missing), extra, tuple(corrupt), placeholders)


def _one_colour(photo: Photo) -> float:
    """The share of the commonest colour, in 16 steps a channel."""
    from PIL import Image

    small = (
        photo.image(64).resize((64, 64), Image.Resampling.NEAREST).point(lambda value: value & 0xF0)
    )
    colours = small.getcolors(64 * 64) or []
    return max((count for count, _ in colours), default=0) / (64 * 64)
