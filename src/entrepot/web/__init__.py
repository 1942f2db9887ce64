"""Routes, authentication, errors as HTTP, serving, API, pages and probes."""
