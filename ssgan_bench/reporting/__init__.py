"""Records -> evidence -> one self-contained page. Imports neither torch nor optuna."""

from ssgan_bench.reporting.page import ReportResult as ReportResult
from ssgan_bench.reporting.page import render as render
from ssgan_bench.reporting.page import write_report as write_report
