"""What the benches share: servers, load, vendors, tables."""
