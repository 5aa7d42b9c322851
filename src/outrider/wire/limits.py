"""The limits that the SDK's types don't carry, in one table by type and field; the compiler puts them into the checks.

Request types stand under their SDK name (`AgentCreateParams`), shared ones under theirs without `BetaManagedAgents`.
Environment metadata is missing on purpose: breaking its limits has an error code of its own (resources/environments).
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Field

from outrider.wire.compile import Rule

METADATA_PAIRS = 16
METADATA_KEY = 64
METADATA_VALUE = 512
MAX_TOOLS = 256

TOOL_NAME = r"^[A-Za-z0-9_-]+$"
IMAGE_TYPES = r"^image/(jpeg|png|gif|webp)$"
CENTS = r"^[1-9][0-9]*$"
PDF_TYPE = r"^application/pdf$"
BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
WEB_ADDRESS = r"^(?i:https?)://[^\s/?#]\S*$"


def _within(hint: Any, limit: Any) -> Any:
    """Put the limit on the value itself, so that a null that the type allows stays allowed."""
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        return nullable(_within(get_args(hint)[0], limit))
    limited: Any = Annotated[hint, limit]
    return limited


def text(least: int = 0, most: int | None = None, *, pattern: str | None = None) -> Rule:
    """A string's length in characters, and its form."""
    return lambda hint: _within(hint, Field(min_length=least or None, max_length=most, pattern=pattern))


def items(least: int = 0, most: int | None = None) -> Rule:
    """How many entries a list has."""
    return lambda hint: _within(hint, Field(min_length=least or None, max_length=most))


def ids(least: int, most: int | None) -> Rule:
    """How many ids a list has, each of which could be one."""

    def limit_each(hint: Any) -> Any:
        if get_origin(hint) in (Union, types.UnionType):
            return nullable(limit_each(get_args(hint)[0]))
        return Annotated[list[ID(str)], Field(fail_fast=True, min_length=least or None, max_length=most)]

    return limit_each


def number(least: int, most: int | None = None) -> Rule:
    return lambda hint: _within(hint, Field(ge=least, le=most))


def string_form(rule: Rule) -> Rule:
    """A limit on the string of a choice between a string and an object."""

    def limit_string(hint: Any) -> Any:
        string, record = get_args(hint.__origin__)
        choice: Any = Annotated[rule(string) | record, *hint.__metadata__]
        return choice

    return limit_string


def nullable(hint: Any) -> Any:
    """The API takes a null that the SDK's type doesn't know."""
    return hint | None


def _metadata(hint: Any, *, pairs: int | None) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return nullable(_metadata(get_args(hint)[0], pairs=pairs))
    key = Annotated[str, Field(min_length=1, max_length=METADATA_KEY)]
    value = text(0, METADATA_VALUE)(get_args(hint)[1])
    return Annotated[dict[key, value], Field(max_length=pairs)]


def metadata(hint: Any) -> Any:
    """A whole bag: at most 16 pairs."""
    return _metadata(hint, pairs=METADATA_PAIRS)


def metadata_patch(hint: Any) -> Any:
    """A patch: the number of pairs is checked on the merged bag, because a patch may delete."""
    return _metadata(hint, pairs=None)


ID = text(1, 256, pattern=r"^[!-~]+$")  # whether there is such a thing is another question
MODEL = string_form(text(1, 256))
ADDRESS = text(1, 2048)
TOKEN = text(1, 16_384)
ENTRIES = items(0, MAX_TOOLS + 1)  # a toolset with nothing enabled, and as many custom tools as there may be
VERSION = number(1, 2**31 - 1)  # the largest is what every store's integer columns hold

AGENT: dict[str, Rule] = {
    "model": MODEL,
    "name": text(1, 256),
    "description": text(0, 2048),
    "system": text(0, 100_000),
    "mcp_servers": items(0, 20),
    "skills": items(0, 500),
    "tools": ENTRIES,
}

LIMITS: dict[str, dict[str, Rule]] = {
    # agents
    "AgentCreateParams": {**AGENT, "metadata": metadata},
    "AgentUpdateParams": {**AGENT, "metadata": metadata_patch, "version": VERSION},
    "ModelConfigParams": {"id": text(1, 256), "inference_geo": text(1, 64)},
    "AWSRoleExecutionIdentityParams": {"role_arn": text(1, 2048)},
    "AnthropicSkillParams": {"skill_id": ID},
    "CustomSkillParams": {"skill_id": ID},
    "AgentToolset20260401Params": {"configs": items(0, 8)},  # one for each tool
    "CustomToolParams": {"name": text(1, 128, pattern=TOOL_NAME)},
    "URLMCPServerParams": {"name": text(1, 255), "url": text(1, 2048)},
    "MCPToolsetParams": {"mcp_server_name": text(1, 255), "configs": items(0, MAX_TOOLS)},
    "MCPToolConfigParams": {"name": text(1, 128)},
    "WebFetchToolConfigParams": {
        "allowed_domains": items(1, 64),
        "blocked_domains": items(1, 64),
        "max_content_tokens": number(1),
    },
    "WebSearchToolConfigParams": {"allowed_domains": items(1, 64), "blocked_domains": items(1, 64)},
    "WebFetchURLSourceOnlyParam": {"tools": items(1, 128)},
    "WebFetchURLSourceExceptParam": {"tools": items(1, 128)},
    "MultiagentCoordinatorParams": {"agents": items(1, 20)},
    "MultiagentSubagentsEnabledParams": {"predefined_agents": items(0, 20)},
    "MultiagentWorkflowsEnabledParams": {"predefined_agents": items(0, 20)},
    # environments; the length of a name is this server's own limit
    "EnvironmentCreateParams": {"name": text(1, 256), "description": text(0, 2048)},
    "EnvironmentUpdateParams": {"name": text(1, 256), "description": text(0, 2048)},
    # sessions; the length of a title is this server's own limit
    "SessionCreateParams": {
        "agent": string_form(ID),
        "environment_id": ID,
        "title": text(0, 2048),
        "metadata": metadata,
        "initial_events": items(0, 50),
        "vault_ids": ids(0, 50),
        "resources": items(0, 500),
    },
    "SessionUpdateParams": {"title": text(0, 2048), "metadata": metadata_patch, "vault_ids": ids(0, None)},
    "BetaMonetaryAmountParam": {"amount": text(1, 12, pattern=CENTS)},
    "AgentParams": {"id": ID, "version": VERSION},
    "AgentWithOverridesParams": {
        "id": ID,
        "version": VERSION,
        "model": lambda hint: nullable(MODEL(hint)),
        "system": text(0, 100_000),
        "tools": lambda hint: nullable(ENTRIES(hint)),
        "mcp_servers": lambda hint: nullable(items(0, 20)(hint)),
        "skills": lambda hint: nullable(items(0, 500)(hint)),
    },
    "SessionAgentUpdateParam": {"mcp_servers": items(0, 20), "tools": ENTRIES},
    "MemoryStoreResourceParam": {"memory_store_id": ID, "instructions": text(0, 4096)},
    "FileResourceParams": {"file_id": ID, "mount_path": text(1, 1024)},
    "ResourceAddParams": {"file_id": ID, "mount_path": text(1, 1024)},
    "GitHubRepositoryResourceParams": {
        "url": ADDRESS,
        "authorization_token": TOKEN,
        "mount_path": text(1, 1024),
    },
    "BranchCheckoutParam": {"name": text(1, 255)},
    "CommitCheckoutParam": {"sha": text(40, 64)},
    "ResourceUpdateParams": {"authorization_token": TOKEN},
    # vaults and credentials
    "VaultCreateParams": {"display_name": text(1, 255), "metadata": metadata},
    "VaultUpdateParams": {"display_name": text(1, 255), "metadata": metadata_patch},
    "CredentialCreateParams": {"display_name": text(0, 255), "metadata": metadata},
    "CredentialUpdateParams": {"display_name": text(1, 255), "metadata": metadata_patch},
    "LimitedCredentialNetworkingParams": {"allowed_hosts": items(0, 16)},
    # lengths of secrets and addresses are this server's own limits
    "MCPOAuthCreateParams": {"mcp_server_url": ADDRESS, "access_token": TOKEN},
    "MCPOAuthUpdateParams": {"access_token": TOKEN},
    "MCPOAuthRefreshParams": {
        "client_id": text(1, 2048),
        "refresh_token": TOKEN,
        "token_endpoint": ADDRESS,
        "resource": text(1, 2048),
        "scope": text(0, 4096),
    },
    "MCPOAuthRefreshUpdateParams": {"refresh_token": TOKEN, "scope": text(0, 4096)},
    "TokenEndpointAuthBasicParam": {"client_secret": TOKEN},
    "TokenEndpointAuthPostParam": {"client_secret": TOKEN},
    "TokenEndpointAuthBasicUpdateParam": {"client_secret": TOKEN},
    "TokenEndpointAuthPostUpdateParam": {"client_secret": TOKEN},
    "StaticBearerCreateParams": {"mcp_server_url": ADDRESS, "token": TOKEN},
    "StaticBearerUpdateParams": {"token": TOKEN},
    "EnvironmentVariableCreateParams": {"secret_name": text(1, 128), "secret_value": text(1, 65_536)},
    "EnvironmentVariableUpdateParams": {"secret_value": text(1, 65_536)},
    # memory; content and paths are limited in bytes, by the resource's own rules
    "MemoryStoreCreateParams": {"name": text(1, 255), "description": text(0, 1024), "metadata": metadata},
    "MemoryStoreUpdateParams": {"name": text(1, 255), "description": text(0, 1024), "metadata": metadata_patch},
    # deployments; lengths of names, descriptions and schedules are this server's own limits
    "DeploymentCreateParams": {
        "name": text(1, 256),
        "description": text(0, 2048),
        "agent": string_form(ID),
        "environment_id": ID,
        "initial_events": items(1, 50),
        "resources": items(0, 500),
        "vault_ids": ids(0, 50),
        "metadata": metadata,
    },
    "DeploymentUpdateParams": {
        "name": text(1, 256),
        "description": text(0, 2048),
        "agent": string_form(ID),
        "environment_id": ID,
        "initial_events": items(1, 50),
        "resources": items(0, 500),
        "vault_ids": ids(0, 50),
        "metadata": metadata_patch,
    },
    "ScheduleParams": {"expression": text(1, 256), "timezone": text(1, 64)},
    # dreams
    "DreamCreateParams": {"inputs": items(2, 2), "model": MODEL, "instructions": text(1, 4096)},
    "BetaDreamModelConfigParam": {"id": text(1, 256)},
    "BetaDreamMemoryStoreInputParam": {"memory_store_id": ID},
    "BetaDreamSessionsInputParam": {"session_ids": ids(1, 100)},
    "BetaOutputBehaviorUpdateExistingParam": {"memory_store_id": ID},
    # work items of self-hosted environments
    "WorkUpdateParams": {"metadata": metadata_patch},
    # events; the number of blocks in a message or result is this server's own limit
    "EventSendParams": {"events": items(1, 50)},
    "UserMessageEventParams": {"content": items(1, 1000)},
    "UserInterruptEventParams": {"session_thread_id": ID},
    "UserToolConfirmationEventParams": {"tool_use_id": ID},
    "UserToolResultEventParams": {"tool_use_id": ID, "content": items(0, 1000)},
    "UserCustomToolResultEventParams": {"custom_tool_use_id": ID, "content": items(0, 1000)},
    "SearchResultBlockParam": {"content": items(0, 1000)},
    "SystemMessageEventParams": {"content": items(1, 1000)},
    "UserDefineOutcomeEventParams": {"description": text(1), "max_iterations": number(1, 20)},
    "TextRubricParams": {"content": text(1, 262_144)},
    "FileImageSourceParam": {"file_id": ID},
    "FileDocumentSourceParam": {"file_id": ID},
    "FileRubricParams": {"file_id": ID},
    # what a model would refuse, and would go on refusing with the history of every later turn
    "Base64ImageSourceParam": {"media_type": text(pattern=IMAGE_TYPES), "data": text(1, pattern=BASE64)},
    "Base64DocumentSourceParam": {"media_type": text(pattern=PDF_TYPE), "data": text(1, pattern=BASE64)},
    "URLImageSourceParam": {"url": text(pattern=WEB_ADDRESS)},
    "URLDocumentSourceParam": {"url": text(pattern=WEB_ADDRESS)},
}
