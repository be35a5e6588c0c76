"""Format name → implementation."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from verifai.reports.interface import ReportFormat


class ReportName(StrEnum):
    """The formats."""

    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"
    HTML = "html"


def format_for(name: ReportName) -> ReportFormat:
    """The format of that name."""
    match name:
        case ReportName.JSON:
            from verifai.reports.json_format import JsonFormat

            return JsonFormat()
        case ReportName.SARIF:
            from verifai.reports.sarif_format import SarifFormat

            return SarifFormat()
        case ReportName.JUNIT:
            from verifai.reports.junit_format import JUnitFormat

            return JUnitFormat()
        case ReportName.GITHUB:
            from verifai.reports.github_format import GitHubFormat

            return GitHubFormat()
        case ReportName.MARKDOWN:
            from verifai.reports.markdown_format import MarkdownFormat

            return MarkdownFormat()
        case ReportName.HTML:
            from verifai.reports.gate_page import HtmlFormat

            return HtmlFormat()
        case _:
            assert_never(name)
