"""Fake vendors (`stripe`, `litellm`, `cloudflare`), the demo, and buyers' stories played against the product."""
