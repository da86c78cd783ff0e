"""Reports on finished runs. Reads run directories only and never imports torch."""

from hypermnesia.report.load import Note as Note
from hypermnesia.report.load import Runs as Runs
from hypermnesia.report.load import load as load
from hypermnesia.report.page import FORMATS as FORMATS
from hypermnesia.report.page import render as render
from hypermnesia.report.page import write as write

__all__ = ["FORMATS", "Note", "Runs", "load", "render", "write"]
