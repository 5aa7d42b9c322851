"""Which tools an agent has: toolset entries, custom tools, settings of the web tools."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

LEDGER = (
    # The built-in toolset
    met(
        "tools:toolset:names",
        "The toolset has `bash`, `read`, `write`, `edit`, `glob`, `grep`, `web_fetch` and `web_search`.",
        SDK,
    ),
    differs(
        "tools:toolset:enabled-by-default",
        "All tools of the toolset are enabled unless configured otherwise.",
        docs("Tools"),
        "the web tools are left out of what the model is offered until this server has them",
    ),
    met(
        "tools:toolset:default-policy",
        "The toolset's default policy is `always_allow`.",
        docs("Tools"),
    ),
    met(
        "tools:toolset:type-in-entry",
        "An entry's `type` repeats its name: optional in requests, always sent back.",
        SDK,
    ),
    met(
        "tools:toolset:disabled",
        "A tool with `enabled: false` is not in the list that the model gets.",
        docs("Tools"),
    ),
    met(
        "tools:toolset:allow-list",
        "With `default_config.enabled` false only the enabled entries are offered.",
        docs("Tools"),
    ),
    met(
        "tools:toolset:duplicate",
        "Two entries of one name, or the toolset twice, are 400.",
        INFERRED,
    ),
    met(
        "tools:toolset:unknown-name",
        "An entry with a name that the toolset doesn't have is 400.",
        SDK,
    ),
    # Custom tools
    met(
        "tools:custom:fields",
        "A custom tool has `name`, `description` and `input_schema`, all required.",
        SDK,
    ),
    met(
        "tools:custom:name",
        "A custom tool's name has 1 to 128 letters, digits, underscores and hyphens.",
        SDK,
    ),
    met(
        "tools:custom:schema",
        "`input_schema` is an object schema whose further keywords reach the model unchanged.",
        SDK,
    ),
    met(
        "tools:custom:no-policy",
        "A custom tool has no permission policy: the client is the gate.",
        docs("Permission policies"),
    ),
    met(
        "tools:custom:clash",
        "A custom tool named like another, or like an enabled built-in, is 400.",
        INFERRED,
    ),
    not_yet(
        "tools:custom:reserved-prefix",
        "Names that begin `ant__` are refused where workflows are on.",
        docs("Workflow runs"),
        "waits for workflow runs",
    ),
    # Web tools
    not_yet(
        "tools:web:inputs",
        "`web_fetch` takes `{url}` and `web_search` takes `{query}`.",
        INFERRED,
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:one-list",
        "Only one of `allowed_domains` and `blocked_domains` may be set, with 1 to 64 entries.",
        SDK,
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:domain-entries",
        "A domain entry covers its subdomains; addresses, bare labels and local names are refused.",
        docs("Tools"),
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:max-content-tokens",
        "`max_content_tokens` cuts what `web_fetch` returns.",
        SDK,
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:url-sources",
        "`url_sources` says whence a fetched address may come; all three `none` is refused.",
        SDK,
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:user-location",
        "`user_location` is passed to `web_search`.",
        SDK,
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:not-allowed",
        "A fetch outside the rules is an error result that says `url_not_allowed`.",
        docs("Tools"),
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:search-drops",
        "A search silently leaves out hits outside the rules.",
        docs("Tools"),
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:limited-networking",
        "With `limited` networking the environment's `allowed_hosts` bind the web tools too.",
        docs("Cloud environment setup"),
        "waits for the web tools",
    ),
    not_yet(
        "tools:web:chain",
        "Along a chain of agents allow-lists intersect and block-lists add up.",
        docs("Restrict web search and web fetch domains"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "tools:web:invalid-at-start",
        "A web setting found invalid at the first start is `session.error`, then idle, without a retry.",
        docs("Tools"),
        "waits for the web tools",
    ),
)
