"""Reports on finished runs. Reads run directories only and never imports torch."""

from hypermnesia.report.render import FORMATS as FORMATS
from hypermnesia.report.render import render as render
from hypermnesia.report.render import write as write
from hypermnesia.report.runs import Note as Note
from hypermnesia.report.runs import Runs as Runs
from hypermnesia.report.runs import load as load

__all__ = ["FORMATS", "Note", "Runs", "load", "render", "write"]
