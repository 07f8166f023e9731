"""report.html: a run on one page that opens from disk, without scripts and without anything from the network."""

from multigen.evaluation.html_report.page import FILE as FILE
from multigen.evaluation.html_report.page import write_report as write_report
