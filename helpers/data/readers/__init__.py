"""Readers: from the official layout of a data set to samples."""

from helpers.data.readers.base import Item, Reader, Reading
from helpers.data.readers.bbbc038 import BBBC038Reader
from helpers.data.readers.cellpose import CellposeReader
from helpers.data.readers.folder import FolderReader
from helpers.data.readers.images import read_image, read_labels
from helpers.data.readers.monuseg import MoNuSegReader
from helpers.data.readers.neurips_cellseg import NeurIPSCellSegReader

READERS: dict[str, Reader] = {
    "bbbc038": BBBC038Reader(),
    "monuseg": MoNuSegReader(),
    "cellpose": CellposeReader(),
    "neurips-cellseg": NeurIPSCellSegReader(),
    "folder": FolderReader(),
}

__all__ = ["READERS", "FolderReader", "Item", "Reader", "Reading", "read_image", "read_labels"]
