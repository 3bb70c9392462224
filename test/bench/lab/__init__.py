"""A laboratory: real ejabberds, ECMs, proxies and swarms of clients on one machine, and what they cost."""
