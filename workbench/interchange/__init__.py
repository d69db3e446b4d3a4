"""Other tools' files in and out: feature dashboards, and links to them."""

from workbench.interchange.files import Limits
from workbench.interchange.graph_urls import GraphLink, graph_url, parse_graph_url
from workbench.interchange.layouts import detect, read
from workbench.interchange.records import Imported, SaeFacts
from workbench.interchange.urls import FeatureLink, feature_url, parse_feature_url

__all__ = [
    "FeatureLink",
    "GraphLink",
    "Imported",
    "Limits",
    "SaeFacts",
    "detect",
    "feature_url",
    "graph_url",
    "parse_feature_url",
    "parse_graph_url",
    "read",
]
