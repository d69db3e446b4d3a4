"""Models: loading, the site vocabulary, token policy, and passes."""

from workbench.model.model import Model, load
from workbench.model.network import Network
from workbench.model.passes import Edit, Pass
from workbench.model.sites import Site, SiteMap, short_name
from workbench.model.tokens import Chat, TokenPolicy, Tokens

__all__ = [
    "Chat",
    "Edit",
    "Model",
    "Network",
    "Pass",
    "Site",
    "SiteMap",
    "TokenPolicy",
    "Tokens",
    "load",
    "short_name",
]
