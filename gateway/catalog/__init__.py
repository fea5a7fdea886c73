"""apps.json → Catalog: parsing with every problem at once, the JSON schema, lookups by price, host and app. Pure."""
