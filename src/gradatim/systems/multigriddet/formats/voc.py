"""Pascal VOC folders: `Annotations` with an XML file for each picture of `JPEGImages`, and lists in `ImageSets/Main`.

Corners count pixels from 1 and belong to the box, so 1 is taken from left and top. Objects that are marked
`difficult` keep the mark.
"""

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from gradatim.data.image import IMAGE_SUFFIXES
from gradatim.errors import DataError, unknown
from gradatim.systems.multigriddet.formats.entry import Entry, Found, Reading, Wanted, number, split_for
from gradatim.systems.multigriddet.formats.text import CLASS_FILES, read_classes, read_lines

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DEEPEST = 50


@dataclass
class Element:
    """An element of an XML file; changes while the file is read.

    Args:
        name: of its tag.
        line: of its tag.
        text: between its tags.
        inner: elements inside of it.
    """

    name: str
    line: int
    text: str = ""
    inner: list["Element"] = field(default_factory=list)

    def find(self, name: str) -> "Element | None":
        """The first element inside of this name."""
        return next((one for one in self.inner if one.name == name), None)

    def value(self, name: str) -> str | None:
        """Text of the first element inside of this name."""
        found = self.find(name)
        return None if found is None else found.text.strip()


def read_voc(wanted: Wanted) -> Reading | None:
    """Read a VOC folder; None if it has no list for the wanted role.

    Raises:
        DataError: the folder has not the layout of one, or a list cannot be read.
    """
    root = wanted.root
    reading = Reading()
    stems = _stems(wanted, reading)
    if stems is None:
        return None
    pictures = {path.stem: path for path in sorted((wanted.images or root / "JPEGImages").glob("*"))
                if path.suffix.lower() in IMAGE_SUFFIXES}  # fmt: skip
    trees = []
    for stem in stems:
        path = root / "Annotations" / f"{stem}.xml"
        try:
            trees.append((stem, path, read_xml(path)))
        except DataError as error:
            reading.wrong.append(str(error))
    reading.classes = wanted.classes or _classes(root, [tree for _, _, tree in trees], reading)
    for stem, path, tree in trees:
        image = pictures.get(stem) or (wanted.images or root / "JPEGImages") / (tree.value("filename") or f"{stem}.jpg")
        _read_objects(path, tree, image, reading)
    return reading


def read_xml(path: Path) -> Element:
    """The outermost element of an XML file.

    Raises:
        DataError: the file is missing, is not XML, or defines entities, which could be made to fill the memory.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    outer = Element("", 0)
    open_elements = [outer]
    parser = expat.ParserCreate()

    def start(name: str, _: object) -> None:
        element = Element(name, parser.CurrentLineNumber)
        if len(open_elements) > _DEEPEST:
            raise DataError(f"{path}:{element.line}: nested too deeply.")
        open_elements[-1].inner.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def text(content: str) -> None:
        open_elements[-1].text += content

    def entity(*_: object) -> None:
        raise DataError(f"{path}:{parser.CurrentLineNumber}: defines an entity; annotations need none.")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        words = expat.ErrorString(error.code)
        raise DataError(f"{path}:{error.lineno}: not valid XML ({words}).") from error
    except (ValueError, LookupError) as error:
        raise DataError(f"{path}: not valid XML ({error}).") from error
    return outer.inner[0]


def _stems(wanted: Wanted, reading: Reading) -> list[str] | None:
    """Names of the pictures of a split."""
    lists = {path.stem: path for path in sorted((wanted.root / "ImageSets" / "Main").glob("*.txt"))}
    name = split_for(wanted, list(lists))
    if name is None and wanted.split is None:
        if wanted.role == "validate":
            return None
        # Without lists every annotated picture is for training.
        return sorted(path.stem for path in (wanted.root / "Annotations").glob("*.xml"))
    if name is None:
        raise DataError(f"{wanted.root}: {unknown('split', wanted.split or '', lists)}")
    lines, notes = read_lines(lists[name])
    reading.notes += notes
    return [text for _, text in lines]


def _classes(root: Path, trees: list[Element], reading: Reading) -> tuple[str, ...]:
    """Names of the classes: of a file, VOC's own, or those that occur."""
    file = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    if file is not None:
        names, notes = read_classes(file)
        reading.notes += notes
        return names
    found = {one.value("name") or "" for tree in trees for one in tree.inner if one.name == "object"} - {""}
    if found <= set(VOC_CLASSES):
        return VOC_CLASSES
    reading.notes.append(f"No file names the classes: they are the {len(found)} that occur, by the alphabet.")
    return tuple(sorted(found))


def _read_objects(path: Path, tree: Element, image: Path, reading: Reading) -> None:
    objects = []
    for one in tree.inner:
        if one.name == "object":
            found = _object(f"{path}:{one.line}", one, reading.classes or ())
            if isinstance(found, str):
                reading.wrong.append(found)
            else:
                objects.append(found)
    if tree.name != "annotation":
        reading.wrong.append(f"{path}:{tree.line}: begins with <{tree.name}>, not with <annotation>.")
    reading.entries.append(Entry(str(path), image, tuple(objects), size=_claimed_size(tree)))


def _object(where: str, one: Element, classes: tuple[str, ...]) -> Found | str:
    """An object, or what is wrong with it."""
    name, box = one.value("name"), one.find("bndbox")
    if not name:
        return f"{where}: the object has no <name>."
    if name not in classes:
        return f"{where}: {unknown('class', name, classes)}"
    if box is None:
        return f"{where}: object {name!r} has no <bndbox>."
    texts = [box.value(corner) for corner in _CORNERS]
    corners = [None if text is None else number(text) for text in texts]
    for corner, text, value in zip(_CORNERS, texts, corners, strict=True):
        if value is None:
            return f"{where}: object {name!r}: <{corner}> is {'missing' if text is None else f'{text!r}, no number'}."
    left, top, right, bottom = (value for value in corners if value is not None)
    difficult = one.value("difficult") not in (None, "", "0")
    return Found(where, (left - 1, top - 1, right, bottom), classes.index(name), difficult=difficult)


def _claimed_size(tree: Element) -> tuple[int, int] | None:
    """(height, width); None where it is missing or 0, as some tools write it."""
    size = tree.find("size")
    if size is None:
        return None
    told = [number(size.value(name) or "") for name in ("height", "width")]
    height, width = (int(side) if side is not None and side.is_integer() else 0 for side in told)
    return (height, width) if height > 0 and width > 0 else None
