"""Settings: defaults, then the config file, then the environment. Holds no secret."""

from outrider.config.folders import Folder, check_folders, offered_here
from outrider.config.loading import default_data, load, place_of_config
from outrider.config.settings import (
    FIRST_UID,
    HOSTED_RATES,
    LOOPBACK,
    ROLES,
    BlobPlace,
    Limits,
    McpSettings,
    PeerFiles,
    RateLimits,
    Retention,
    Settings,
    VaultSettings,
    WebhookSettings,
)
from outrider.config.urls import DATABASE_URL, NATS_URL

__all__ = [
    "DATABASE_URL",
    "FIRST_UID",
    "HOSTED_RATES",
    "LOOPBACK",
    "NATS_URL",
    "ROLES",
    "BlobPlace",
    "Folder",
    "Limits",
    "McpSettings",
    "PeerFiles",
    "RateLimits",
    "Retention",
    "Settings",
    "VaultSettings",
    "WebhookSettings",
    "check_folders",
    "default_data",
    "load",
    "offered_here",
    "place_of_config",
]
