"""Readers: from the official layout of a data set to samples."""

from helpers.data.readers.acdc import AcdcReader
from helpers.data.readers.base import Item, Reader, Reading
from helpers.data.readers.bbbc038 import KINDS, BBBC038Reader
from helpers.data.readers.cellpose import CellposeReader
from helpers.data.readers.coco import CocoReader
from helpers.data.readers.covid_qu import CovidQuReader
from helpers.data.readers.cpm17 import Cpm17Reader
from helpers.data.readers.crag import CragReader
from helpers.data.readers.folder import FolderReader
from helpers.data.readers.glas import GRADES, GlasReader
from helpers.data.readers.idrid import LESIONS, IdridReader
from helpers.data.readers.images import read_image, read_labels
from helpers.data.readers.livecell import SUBSETS, LiveCellReader
from helpers.data.readers.monuseg import KumarReader, MoNuSegReader
from helpers.data.readers.neurips_cellseg import NeurIPSCellSegReader
from helpers.data.readers.tnbc import TnbcReader

# By the names that the data manifest gives them; NAME:TASK reads other labels of the same files, or
# only some of the images.
READERS: dict[str, Reader] = {
    "bbbc038": BBBC038Reader(),
    **{f"bbbc038:{kind}": BBBC038Reader(kind) for kind in KINDS},
    "monuseg": MoNuSegReader(),
    "monuseg:kumar": KumarReader(),
    "cellpose": CellposeReader(),
    "neurips-cellseg": NeurIPSCellSegReader(),
    "acdc": AcdcReader(),
    "idrid": IdridReader(),
    **{f"idrid:{lesion.replace(' ', '-')}": IdridReader(lesion) for lesion in LESIONS},
    "covid-qu": CovidQuReader(),
    "covid-qu:lung": CovidQuReader("lung"),
    "glas": GlasReader(),
    **{f"glas:{grade}": GlasReader(grade) for grade in GRADES},
    "crag": CragReader(),
    "cpm17": Cpm17Reader(),
    "tnbc": TnbcReader(),
    "coco": CocoReader(),
    "livecell": LiveCellReader(),
    **{f"livecell:{subset}": LiveCellReader(subset) for subset in SUBSETS},
    "folder": FolderReader(),
}

__all__ = ["READERS", "FolderReader", "Item", "Reader", "Reading", "read_image", "read_labels"]
