"""The public listener: route table, error table, handlers, admin API, the plans page."""
