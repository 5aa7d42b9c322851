"""Vaults and credentials."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met

VAULTS = docs("Authenticate with vaults")
HOOKS = docs("Subscribe to webhooks")

LEDGER = (
    met("vaults:create", "A vault is made from a display name of 1 to 255 characters and metadata.", SDK),
    met("vaults:object", "A vault has id, type, display name, metadata and three times.", SDK),
    met("vaults:update", "An update changes the name and merges metadata; nothing given, nothing changes.", SDK),
    met("vaults:list", "Vaults are listed newest first, 20 a page unless asked for up to 100.", VAULTS),
    met("vaults:archive", "Archiving archives all credentials, purges their secrets and keeps the records.", VAULTS),
    met("vaults:archive:twice", "Archiving again returns the record unchanged.", INFERRED),
    met("vaults:archive:no-new-sessions", "An archived vault can't be named by a new session.", VAULTS),
    met("vaults:delete", "Deleting erases the vault and its credentials and answers `vault_deleted`.", VAULTS),
    met("credentials:create:bearer", "`static_bearer` takes a server's address and a token.", SDK),
    met("credentials:create:oauth", "`mcp_oauth` takes an access token, and optionally an expiry and a refresh.", SDK),
    met("credentials:create:expired", "`expires_at` must be in the future.", SDK),
    met("credentials:create:variable", "`environment_variable` takes a name, a value and its networking.", SDK),
    met("credentials:write-only", "No secret is ever in a response.", VAULTS),
    met("credentials:hosts", "Allowed hosts are bare names, IPv4 addresses or `*.` patterns, at most 16.", SDK),
    met("credentials:injection", "An absent injection location means both; given, what is left out is false.", VAULTS),
    met("credentials:injection:none", "Both locations off, or a null, is 400 on create and update.", VAULTS),
    met("credentials:names", "Names of variables that the sandbox needs are refused.", INFERRED),
    met("credentials:unique", "One active credential for a server or a name in a vault; a second one is 409.", VAULTS),
    met("credentials:unique:archived", "Archiving frees the address or name and keeps the record.", VAULTS),
    met("credentials:limit", "At most 20 credentials in a vault.", VAULTS),
    met("credentials:update", "An update replaces the secrets and settings that it names and keeps the rest.", SDK),
    met("credentials:update:type", "The type can't change.", SDK),
    met("credentials:update:oauth", "A new access token keeps the stored expiry; an empty scope clears it.", SDK),
    met("credentials:update:client-secret", "Only a credential with a client secret takes another one.", SDK),
    met("credentials:update:add-refresh", "A refresh can't be added later.", INFERRED),
    met("credentials:list", "Credentials are listed newest first, archived ones when asked for.", VAULTS),
    met("credentials:archive", "Archiving purges the secret at once; again, it changes nothing.", VAULTS),
    met("credentials:delete", "Deleting answers `vault_credential_deleted`.", SDK),
    met("credentials:validate:valid", "A credential that its server takes is `valid`.", SDK),
    met("credentials:validate:refresh", "A 401 leads to one refresh, which is stored.", SDK),
    met(
        "credentials:validate:invalid",
        "A refused grant or a 4xx is `invalid`, with the failing step and answer.",
        VAULTS,
    ),
    met("credentials:validate:unknown", "A 5xx, a 429 or no answer is `unknown`.", VAULTS),
    met("credentials:validate:scrubbed", "Captured bodies are cut and hold no secret.", SDK),
    met("credentials:validate:type", "Only `mcp_oauth` credentials can be validated.", INFERRED),
    met(
        "credentials:refresh:refused-once",
        "A refused grant is told of once, and asked about again once its `refresh` changes or it is validated.",
        INFERRED,
    ),
    met("credentials:refresh:failed", "A refused refresh becomes the change `vault_credential.refresh_failed`.", HOOKS),
)
